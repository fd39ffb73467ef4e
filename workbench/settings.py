"""One frozen settings object: defaults, then `workbench.toml` of the bench, then the environment."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, Tag, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings.exceptions import SettingsError as ValueUnreadableError

from catalog.errors import QuestionError, SettingsError
from catalog.home import SETTINGS_FILE
from catalog.stability import QUIET_SECONDS
from pipelines.store.places import S3, at
from workbench.pacs.dimse_node import DimseNode, check_ae_title, check_on_conflict
from workbench.pacs.web.node import WebNode
from workbench.routing.rules import Rule, faults


def _kind(node: Any) -> str:
    """Whichever has an address on the web is asked there."""
    return "web" if isinstance(node, WebNode) or (isinstance(node, dict) and "url" in node) else "dimse"


type AnyNode = Annotated[
    Annotated[DimseNode, Tag("dimse")] | Annotated[WebNode, Tag("web")], Discriminator(_kind)
]


def _setting(place: tuple[int | str, ...]) -> str:
    """Name of a setting as it stands in the file; pydantic tells the kind of a node, too."""
    return ".".join(str(each) for at, each in enumerate(place) if (place[0], at) != ("nodes", 2))


class Settings(BaseSettings):
    """What one bench is set to.

    Every field can be given as `WORKBENCH_<NAME>` in the environment or as a line of `workbench.toml` in the
    bench's home; a node is a table there:

        [nodes.PACS]
        ae_title = "PACS"
        host = "pacs.example.org"
        port = 104

        [nodes.ARCHIVE]
        url = "https://archive.example.org/dicom-web"
        token_variable = "ARCHIVE_TOKEN"
    """

    model_config = SettingsConfigDict(env_prefix="WORKBENCH_", frozen=True, extra="forbid")

    home: Path
    """Folder of this bench: catalog, arrays, thumbnails, outputs, outbox."""
    catalog: str | None = None
    """Address of a shared catalog (`postgresql://…`); `catalog.sqlite` in the home when left out."""
    author: str = ""
    """Under which name annotations are saved; the user of JupyterHub or of the system when left out."""
    ae_title: str = "WORKBENCH"
    """AE title under which this bench calls and is called."""
    listen_host: str = "127.0.0.1"
    """Address this bench listens on for storage commitment results and C-MOVE."""
    listen_port: int = Field(default=0, ge=0, le=65535)
    """Its port; 0 takes a free one, which only a node on this machine can learn of."""
    receive_host: str = "127.0.0.1"
    """Address `workbench receive` listens on; others than this machine's own need TLS and nodes."""
    receive_port: int = Field(default=11112, ge=0, le=65535)
    """Its port; 2762 is the one of DICOM with TLS, 11112 and 104 of DICOM without."""
    receive_free_mb: int = Field(default=1024, ge=0)
    """What receive, fetch and harvest leave free on the disk: before that nothing is taken in."""
    on_conflict: str = "first"
    """What becomes of other bytes under a known SOP Instance UID, unless a node says so itself: the `first`
    counts, the `newest` does, or `refuse` tells the sender; both are kept in any case."""
    tls_certificate: Path | None = None
    """Certificate of this bench, PEM, with which `workbench receive` proves who it is; it means TLS."""
    tls_key: Path | None = None
    """Its key."""
    tls_authorities: Path | None = None
    """Certificates of those who vouch for callers, PEM; a caller without one of theirs is refused."""
    commitment_seconds: float = Field(default=60.0, ge=0)
    """How long `send` waits for a node's storage commitment before it goes on to read back."""
    threads: int | None = Field(default=None, ge=1)
    """Threads that decode and compress at ingest, processes of the Dask cluster; every core when left out."""
    arrays: str | None = None
    """Where arrays are kept: another folder, or `s3://bucket/prefix`; `arrays` in the home when left out."""
    arrays_endpoint: str | None = None
    """`https://host:port` of an S3 server other than Amazon's; credentials come from the environment."""
    arrays_region: str | None = None
    """Region of the bucket."""
    scheduler: str | None = None
    """Address of a Dask scheduler; a cluster on this machine when left out."""
    fetched_gb: float = Field(default=20.0, ge=0)
    """How much is kept of copies of what lies in archives and buckets; the least recently used go first."""
    stable_seconds: float = Field(default=QUIET_SECONDS, gt=0)
    """After how long without a new instance a series is taken for stable."""
    deidentifier: str = ""
    """Function that removes a patient's identity for rules that demand it: `package.module:function`."""
    routes: tuple[Rule, ...] = ()
    """What happens with what is received, a table [[routes]] a rule; see `workbench.routing.rules.Rule`."""
    nodes: dict[str, AnyNode] = Field(default_factory=dict)
    """PACS nodes by the name used in `send(…, to=name)` and `pacs://NAME`; with a `url` by DICOMweb."""

    @model_validator(mode="after")
    def _is_an_ae_title(self) -> Self:
        check_ae_title(self.ae_title)
        return self

    @model_validator(mode="after")
    def _is_a_policy(self) -> Self:
        check_on_conflict(self.on_conflict)
        return self

    @model_validator(mode="after")
    def _rules_hold(self) -> Self:
        said = faults(self.routes, self.nodes)
        for rule in self.routes:
            if rule.where:
                from catalog.where import compile_where  # only where there is something to ask

                try:
                    compile_where(rule.where)
                except QuestionError as error:
                    said.append(f"{rule.name}: {error}")
        if said:
            raise ValueError("; ".join(said))
        return self

    @model_validator(mode="after")
    def _arrays_have_a_place(self) -> Self:
        at(self.arrays_address)
        return self

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        given = [self.tls_certificate, self.tls_key, self.tls_authorities]
        if any(given) and not all(given):
            raise ValueError("TLS needs all of tls_certificate, tls_key and tls_authorities")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then the file."""
        arguments: dict[str, Any] = init_settings()
        file = TomlConfigSettingsSource(settings_cls, Path(arguments["home"]) / SETTINGS_FILE)
        return init_settings, env_settings, file

    @classmethod
    def load(cls, home: Path, **given: Any) -> Self:
        """Read the settings of the bench in a folder.

        Raises
        ------
        catalog.errors.SettingsError
            If the file or the environment says something impossible; names the setting, not its value.
        """
        try:
            return cls(home=home, **given)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{home / SETTINGS_FILE} is no TOML: {error}") from None
        except ValueUnreadableError as error:
            raise SettingsError(f"the environment: {error}; tables are written as JSON there") from None
        except ValidationError as error:
            faults = "; ".join(
                f"{_setting(each['loc'])}: {each['msg'].removeprefix('Value error, ')}"
                for each in error.errors(include_input=False, include_url=False)
            )
            raise SettingsError(f"{home / SETTINGS_FILE}, the environment or an argument: {faults}") from None

    @property
    def cores(self) -> int:
        """How much is done at the same time on this machine."""
        from dask.system import CPU_COUNT  # knows containers and affinities, and takes a while to load

        return self.threads or CPU_COUNT

    @property
    def catalog_url(self) -> str:
        """Address of the catalog."""
        return self.catalog or str(self.home / "catalog.sqlite")

    @property
    def arrays_folder(self) -> Path:
        """Folder of the arrays where they have no other place; who works on them holds its lock."""
        return self.home / "arrays"

    @property
    def arrays_address(self) -> str:
        """Where the Zarr groups lie, as `pipelines.store.places.at` takes it."""
        if self.arrays is None or not self.arrays.startswith(S3):
            return str(self.home / Path(self.arrays or self.arrays_folder).expanduser())
        given = (("endpoint", self.arrays_endpoint), ("region", self.arrays_region))
        query = "&".join(f"{name}={value}" for name, value in given if value)
        return f"{self.arrays}?{query}" if query else self.arrays

    @property
    def thumbnails_folder(self) -> Path:
        """Where pictures of series are kept."""
        return self.home / "thumbnails"

    @property
    def fetched_folder(self) -> Path:
        """Where copies of instances are kept that lie in archives and buckets."""
        return self.home / "fetched"

    @property
    def received_folder(self) -> Path:
        """Where objects are kept that others sent to this bench."""
        return self.home / "received"

    @property
    def commitments_folder(self) -> Path:
        """Where answers to requests for storage commitment wait that `workbench receive` owes."""
        return self.home / "commitments"

    @property
    def nodes_folder(self) -> Path:
        """Where it is counted what is asked of each node, by all processes of this bench."""
        return self.home / "nodes"

    @property
    def outbox_folder(self) -> Path:
        """Where copies of what is to be sent are kept."""
        return self.home / "outbox"

    @property
    def routing_folder(self) -> Path:
        """Whose lock is held by who carries rules out."""
        return self.home / "routing"

    @property
    def drawn_folder(self) -> Path:
        """Where objects are put that people drew."""
        return self.home / "drawn"

    @property
    def masks_folder(self) -> Path:
        """Where masks are kept as they are painted."""
        return self.home / "masks"

    @property
    def outputs_folder(self) -> Path:
        """Where runs put what they make."""
        return self.home / "outputs"
