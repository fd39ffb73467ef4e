"""Between which numbers the columns of instances lie in each series."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
COLUMNS = {
    0x00200013: "instance_number",
    0x00200012: "acquisition_number",
    0x00181060: "trigger_time",
    0x00200100: "temporal_position_identifier",
    0x00180081: "echo_time",
    0x00180086: "echo_numbers",
    0x00180080: "repetition_time",
    0x00180082: "inversion_time",
    0x00181314: "flip_angle",
    0x00189087: "diffusion_b_value",
    0x00180060: "kvp",
    0x00181151: "x_ray_tube_current",
    0x00181150: "exposure_time",
    0x00180050: "slice_thickness",
    0x00180088: "spacing_between_slices",
    0x00201041: "slice_location",
    0x00181120: "gantry_detector_tilt",
    0x00280010: "rows",
    0x00280011: "columns",
    0x00280008: "number_of_frames",
    0x00280002: "samples_per_pixel",
    0x00280006: "planar_configuration",
    0x00280100: "bits_allocated",
    0x00280101: "bits_stored",
    0x00280102: "high_bit",
    0x00280103: "pixel_representation",
    0x00281053: "rescale_slope",
    0x00281052: "rescale_intercept",
}
"""Those with numbers, by tag."""


def upgrade() -> None:
    """Create the table and fill it, with one look at each instance."""
    op.create_table(
        "series_spans",
        sa.Column("tag", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("series", ID, nullable=False),
        sa.Column("low", sa.Double, nullable=False),
        sa.Column("high", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("tag", "series", name="pk_series_spans"),
        sa.ForeignKeyConstraint(["series"], ["series.id"], name="fk_series_spans_series", ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
    ends = ", ".join(f"min({name}) AS low_{name}, max({name}) AS high_{name}" for name in COLUMNS.values())
    op.execute(f"CREATE TEMPORARY TABLE spanned AS SELECT series, {ends} FROM instances GROUP BY series")
    for tag, name in COLUMNS.items():
        op.execute(
            f"INSERT INTO series_spans SELECT {tag}, series, low_{name}, high_{name} FROM spanned "
            f"WHERE low_{name} IS NOT NULL"
        )
    op.execute("DROP TABLE spanned")
