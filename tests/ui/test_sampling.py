"""Values between voxels as the page computes them for what lies over an image, held against SciPy."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from scipy import ndimage

SOURCE = Path(__file__).parents[2] / "extensions" / "src" / "sampling.ts"
TSC = SOURCE.parents[1] / "node_modules" / ".bin" / "tsc"
SHAPE = 7, 9, 11
"""Planes, rows, columns."""
WIDTH, HEIGHT = 40, 30

PROGRAM = """
const { gridOf, inGrid, needed, sampled } = require('./sampling.js');
const { affine, isOfLabels, values, raster, width, height } = JSON.parse(require('fs').readFileSync(0));
const [rows, columns] = [values[0].length, values[0][0].length];
const grid = gridOf({ axes: [{ size: values.length }], rows, columns }, affine, isOfLabels);
const indices = inGrid(grid, raster);
const planes = [];
for (const at of needed(grid, indices, width, height)) planes[at] = Float32Array.from(values[at].flat());
const out = sampled(grid, planes, indices, width, height);
console.log(JSON.stringify([...out].map(each => (Number.isNaN(each) ? null : each))));
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str], NoReturn]) -> Path:
    """Where the module lies as plain JavaScript."""
    if shutil.which("node") is None or not TSC.exists():
        missing("no viewer is built here: install Node.js 20, then make viewer")
    folder = tmp_path_factory.mktemp("sampling")
    subprocess.run(
        [
            TSC, SOURCE, "--outDir", folder, "--module", "commonjs", "--target", "es2022",
            "--moduleResolution", "node10", "--ignoreDeprecations", "5.0", "--skipLibCheck",
        ],
        check=True,
    )  # fmt: skip
    (folder / "program.js").write_text(PROGRAM)
    return folder


def rotated(seed: int) -> np.ndarray:
    """An affine of voxels of unequal size, turned any way."""
    chance = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(chance.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * (0.7, 1.3, 2.9)
    affine[:3, 3] = chance.uniform(-50, 50, 3)
    return affine


def page(compiled: Path, values: Any, affine: Any, raster: Any, *, labels: bool = False) -> np.ndarray:
    given = {
        "affine": affine.tolist(), "isOfLabels": labels, "values": values.tolist(), "width": WIDTH,
        "height": HEIGHT, "raster": {name: each.tolist() for name, each in raster.items()},
    }  # fmt: skip
    said = subprocess.run(
        ["node", compiled / "program.js"], input=json.dumps(given), capture_output=True, text=True, check=True
    ).stdout
    return np.array(json.loads(said), np.float64).reshape(HEIGHT, WIDTH)


def indices_of(affine: Any, raster: Any) -> np.ndarray:
    """(plane, row, column) of each pixel; shape (3, HEIGHT, WIDTH)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    places = raster["start"][:, None, None] + x * raster["across"][:, None, None]
    places = places + y * raster["down"][:, None, None]
    inverse = np.linalg.inv(affine)
    return np.asarray(
        np.einsum("ij,jyx->iyx", inverse[:3, :3], places) + inverse[:3, 3][:, None, None], np.float64
    )[::-1]


def inside(at: np.ndarray) -> np.ndarray:
    return np.logical_and.reduce([(a > -0.5) & (a < n - 0.5) for a, n in zip(at, SHAPE, strict=True)])


def section(affine: Any, *, seed: int) -> dict[str, Any]:
    """A section any way through the middle of a volume, with pixels of 0.4 mm."""
    chance = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(chance.normal(size=(3, 3)))
    across, down = 0.4 * turn[0], 0.4 * turn[1]
    middle = (affine @ (*((np.array(SHAPE[::-1]) - 1) / 2), 1))[:3]
    return {"start": middle - across * WIDTH / 2 - down * HEIGHT / 2, "across": across, "down": down}


@pytest.mark.parametrize("seed", range(4))
def test_values_between_voxels_of_any_two_grids_are_those_of_scipy(compiled: Path, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)
    affine = rotated(seed)
    raster = section(affine, seed=seed + 100)
    at = indices_of(affine, raster)
    wanted = ndimage.map_coordinates(values.astype(np.float64), at, order=1, mode="nearest")
    found = page(compiled, values, affine, raster)
    assert np.array_equal(np.isnan(found), ~inside(at))
    assert np.count_nonzero(inside(at)) > 100
    assert np.allclose(found[inside(at)], wanted[inside(at)], atol=1e-6)


@pytest.mark.parametrize("seed", range(2))
def test_labels_are_those_of_the_nearest_voxel(compiled: Path, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 9, SHAPE)
    affine = rotated(seed)
    raster = section(affine, seed=seed + 100)
    at = indices_of(affine, raster)
    planes, rows, columns = np.clip(np.rint(at).astype(int), 0, np.array(SHAPE)[:, None, None] - 1)
    found = page(compiled, values, affine, raster, labels=True)
    assert np.array_equal(np.isnan(found), ~inside(at))
    assert np.array_equal(found[inside(at)], values[planes, rows, columns][inside(at)])


def test_on_its_own_planes_an_array_is_what_it_is(compiled: Path) -> None:
    values = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    affine = rotated(7)
    raster = {
        "start": (affine @ (0, 0, 3, 1))[:3],
        "across": affine[:3, 0],
        "down": affine[:3, 1],
    }
    found = page(compiled, values, affine, raster)
    assert np.allclose(found[: SHAPE[1], : SHAPE[2]], values[3], atol=1e-6)
    assert np.isnan(found[SHAPE[1] :]).all()
    assert np.isnan(found[:, SHAPE[2] :]).all()
