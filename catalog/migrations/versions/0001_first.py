"""The schema of the first release."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
PATH = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "deliveries",
        sa.Column("id", ID, nullable=False),
        sa.Column("sop_instance_uid", sa.Text, nullable=False),
        sa.Column("sop_class_uid", sa.Text, nullable=False),
        sa.Column("node", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt", sa.DateTime(timezone=True), nullable=False),
        sa.Column("transaction_uid", sa.Text),
        sa.Column("claimed_until", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.UniqueConstraint("sop_instance_uid", "node", name="uq_deliveries_sop_instance_uid_node"),
    )
    op.create_index("ix_deliveries_state", "deliveries", ["state"])
    op.create_index("ix_deliveries_transaction_uid", "deliveries", ["transaction_uid"])
    op.create_table(
        "index_reports",
        sa.Column("id", ID, nullable=False),
        sa.Column("finished", sa.DateTime(timezone=True), nullable=False),
        sa.Column("report", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_index_reports"),
    )
    op.create_table(
        "patients",
        sa.Column("id", ID, nullable=False),
        sa.Column("patient_id", sa.Text, nullable=False),
        sa.Column("issuer_of_patient_id", sa.Text, nullable=False),
        sa.Column("patient_name", sa.Text),
        sa.Column("patient_birth_date", sa.Text),
        sa.Column("patient_sex", sa.Text),
        sa.Column("patient_species_description", sa.Text),
        sa.Column("patient_breed_description", sa.Text),
        sa.Column("identity", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_patients"),
        sa.UniqueConstraint("identity", name="uq_patients_identity"),
    )
    op.create_index("ix_patients_patient_id", "patients", ["patient_id"])
    op.create_table(
        "runs",
        sa.Column("id", ID, nullable=False),
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("step", sa.Text, nullable=False),
        sa.Column("code_digest", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("parameters", sa.JSON, nullable=False),
        sa.Column("environment", sa.JSON, nullable=False),
        sa.Column("started", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("run", name="uq_runs_run"),
    )
    op.create_table(
        "run_items",
        sa.Column("id", ID, nullable=False),
        sa.Column("run", ID, nullable=False),
        sa.Column("series_instance_uid", sa.Text, nullable=False),
        sa.Column("part", sa.Integer, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("measurements", sa.JSON, nullable=False),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name="fk_run_items_run"),
        sa.PrimaryKeyConstraint("id", name="pk_run_items"),
    )
    op.create_index("ix_run_items_key", "run_items", ["key"])
    op.create_index("ix_run_items_run", "run_items", ["run"])
    op.create_index("ix_run_items_series_instance_uid", "run_items", ["series_instance_uid"])
    op.create_table(
        "stages",
        sa.Column("id", ID, nullable=False),
        sa.Column("delivery", ID, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["delivery"], ["deliveries.id"], name="fk_stages_delivery"),
        sa.PrimaryKeyConstraint("id", name="pk_stages"),
    )
    op.create_index("ix_stages_delivery", "stages", ["delivery"])
    op.create_table(
        "studies",
        sa.Column("id", ID, nullable=False),
        sa.Column("patient", ID, nullable=False),
        sa.Column("study_instance_uid", sa.Text, nullable=False),
        sa.Column("study_date", sa.Text),
        sa.Column("study_time", sa.Text),
        sa.Column("study_description", sa.Text),
        sa.Column("accession_number", sa.Text),
        sa.Column("study_id", sa.Text),
        sa.Column("referring_physician_name", sa.Text),
        sa.Column("patient_age", sa.Text),
        sa.Column("patient_weight", sa.Double),
        sa.Column("patient_size", sa.Double),
        sa.ForeignKeyConstraint(["patient"], ["patients.id"], name="fk_studies_patient"),
        sa.PrimaryKeyConstraint("id", name="pk_studies"),
        sa.UniqueConstraint("study_instance_uid", name="uq_studies_study_instance_uid"),
    )
    op.create_index("ix_studies_patient", "studies", ["patient"])
    op.create_table(
        "outputs",
        sa.Column("id", ID, nullable=False),
        sa.Column("run_item", ID, nullable=False),
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("sop_instance_uid", sa.Text),
        sa.ForeignKeyConstraint(["run_item"], ["run_items.id"], name="fk_outputs_run_item"),
        sa.PrimaryKeyConstraint("id", name="pk_outputs"),
    )
    op.create_index("ix_outputs_run_item", "outputs", ["run_item"])
    op.create_index("ix_outputs_sop_instance_uid", "outputs", ["sop_instance_uid"])
    op.create_table(
        "series",
        sa.Column("id", ID, nullable=False),
        sa.Column("study", ID, nullable=False),
        sa.Column("series_instance_uid", sa.Text, nullable=False),
        sa.Column("modality", sa.Text),
        sa.Column("series_number", sa.BigInteger),
        sa.Column("series_description", sa.Text),
        sa.Column("series_date", sa.Text),
        sa.Column("series_time", sa.Text),
        sa.Column("body_part_examined", sa.Text),
        sa.Column("protocol_name", sa.Text),
        sa.Column("laterality", sa.Text),
        sa.Column("manufacturer", sa.Text),
        sa.Column("manufacturer_model_name", sa.Text),
        sa.Column("station_name", sa.Text),
        sa.Column("institution_name", sa.Text),
        sa.Column("software_versions", sa.Text),
        sa.Column("device_serial_number", sa.Text),
        sa.Column("frame_of_reference_uid", sa.Text),
        sa.Column("patient_position", sa.Text),
        sa.Column("magnetic_field_strength", sa.Double),
        sa.Column("contrast_bolus_agent", sa.Text),
        sa.Column("convolution_kernel", sa.Text),
        sa.Column("scanning_sequence", sa.Text),
        sa.Column("sequence_name", sa.Text),
        sa.ForeignKeyConstraint(["study"], ["studies.id"], name="fk_series_study"),
        sa.PrimaryKeyConstraint("id", name="pk_series"),
        sa.UniqueConstraint("series_instance_uid", name="uq_series_series_instance_uid"),
    )
    op.create_index("ix_series_study", "series", ["study"])
    op.create_table(
        "arrays",
        sa.Column("id", ID, nullable=False),
        sa.Column("series", ID, nullable=False),
        sa.Column("part", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("record", sa.JSON, nullable=False),
        sa.Column("input_digest", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["series"], ["series.id"], name="fk_arrays_series"),
        sa.PrimaryKeyConstraint("id", name="pk_arrays"),
        sa.UniqueConstraint("series", "part", name="uq_arrays_series_part"),
    )
    op.create_index("ix_arrays_series", "arrays", ["series"])
    op.create_table(
        "instances",
        sa.Column("id", ID, nullable=False),
        sa.Column("series", ID, nullable=False),
        sa.Column("sop_instance_uid", sa.Text, nullable=False),
        sa.Column("sop_class_uid", sa.Text),
        sa.Column("specific_character_set", sa.Text),
        sa.Column("instance_number", sa.BigInteger),
        sa.Column("image_type", sa.Text),
        sa.Column("acquisition_number", sa.BigInteger),
        sa.Column("acquisition_date", sa.Text),
        sa.Column("acquisition_time", sa.Text),
        sa.Column("acquisition_date_time", sa.Text),
        sa.Column("content_date", sa.Text),
        sa.Column("content_time", sa.Text),
        sa.Column("trigger_time", sa.Double),
        sa.Column("temporal_position_identifier", sa.BigInteger),
        sa.Column("echo_time", sa.Double),
        sa.Column("echo_numbers", sa.BigInteger),
        sa.Column("repetition_time", sa.Double),
        sa.Column("inversion_time", sa.Double),
        sa.Column("flip_angle", sa.Double),
        sa.Column("diffusion_b_value", sa.Double),
        sa.Column("diffusion_gradient_orientation", sa.Text),
        sa.Column("kvp", sa.Double),
        sa.Column("x_ray_tube_current", sa.BigInteger),
        sa.Column("exposure_time", sa.BigInteger),
        sa.Column("image_position_patient", sa.Text),
        sa.Column("image_orientation_patient", sa.Text),
        sa.Column("pixel_spacing", sa.Text),
        sa.Column("imager_pixel_spacing", sa.Text),
        sa.Column("slice_thickness", sa.Double),
        sa.Column("spacing_between_slices", sa.Double),
        sa.Column("slice_location", sa.Double),
        sa.Column("gantry_detector_tilt", sa.Double),
        sa.Column("rows", sa.BigInteger),
        sa.Column("columns", sa.BigInteger),
        sa.Column("number_of_frames", sa.BigInteger),
        sa.Column("samples_per_pixel", sa.BigInteger),
        sa.Column("photometric_interpretation", sa.Text),
        sa.Column("planar_configuration", sa.BigInteger),
        sa.Column("bits_allocated", sa.BigInteger),
        sa.Column("bits_stored", sa.BigInteger),
        sa.Column("high_bit", sa.BigInteger),
        sa.Column("pixel_representation", sa.BigInteger),
        sa.Column("rescale_slope", sa.Double),
        sa.Column("rescale_intercept", sa.Double),
        sa.Column("rescale_type", sa.Text),
        sa.Column("units", sa.Text),
        sa.Column("window_center", sa.Text),
        sa.Column("window_width", sa.Text),
        sa.Column("lossy_image_compression", sa.Text),
        sa.Column("burned_in_annotation", sa.Text),
        sa.Column("transfer_syntax_uid", sa.Text, nullable=False),
        sa.Column("header_digest", sa.Text, nullable=False),
        sa.Column("deviations", sa.Text, server_default="", nullable=False),
        sa.ForeignKeyConstraint(["series"], ["series.id"], name="fk_instances_series"),
        sa.PrimaryKeyConstraint("id", name="pk_instances"),
        sa.UniqueConstraint("sop_instance_uid", name="uq_instances_sop_instance_uid"),
    )
    op.create_index("ix_instances_series", "instances", ["series"])
    op.create_table(
        "files",
        sa.Column("id", ID, nullable=False),
        sa.Column("folder", PATH, nullable=False),
        sa.Column("name", PATH, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("mtime_ns", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, server_default="", nullable=False),
        sa.Column("instance", ID),
        sa.Column("pixel_tag", sa.BigInteger),
        sa.Column("pixel_vr", sa.Text),
        sa.Column("pixel_offset", sa.BigInteger),
        sa.Column("pixel_length", sa.BigInteger),
        sa.Column("content_digest", sa.Text),
        sa.ForeignKeyConstraint(["instance"], ["instances.id"], name="fk_files_instance"),
        sa.PrimaryKeyConstraint("id", name="pk_files"),
        sa.UniqueConstraint("folder", "name", name="uq_files_folder_name"),
    )
    op.create_index("ix_files_instance", "files", ["instance"])
