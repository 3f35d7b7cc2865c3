"""All settings, validated together."""

import os
import socket
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from shuttle.settings.hosts import (
    check_aliases,
    check_bind,
    check_folder,
    check_listener,
    check_registry,
    check_topic,
    read_controllers,
    read_public_url,
    split_listener,
)
from shuttle.settings.types import (
    GIB,
    MAX_SECONDS,
    MIB,
    Bytes,
    Count,
    Days,
    Delays,
    PerSecond,
    Seconds,
    checked,
    from_text,
)
from shuttle.settings.values import (
    Network,
    check_database_url,
    check_encryption_keys,
    check_hook_secret,
    check_list_of_hosts,
    check_server_url,
    check_webhook_keys,
    comma_list,
    credentials_by_host,
    is_loopback,
    is_postgres,
    read_build_args,
    read_hosts,
    read_networks,
    read_optional,
    read_tokens,
    read_webhook_keys,
)
from shuttle.standing import TokenRole

# A value of SHUTTLE_PACKERD_TLS_CERT instead of a path: a certificate is made at each start.
OWN_CERTIFICATE = "auto"


class Settings(BaseModel):
    """The operator's settings; the names are those of the environment in lower case."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, frozen=True)

    # --- address and names of the service
    port: int = Field(9000, ge=0, le=65535)
    shuttle_bind: Annotated[str, AfterValidator(check_bind)] = "127.0.0.1"
    build_shuttle_host: Annotated[str, AfterValidator(read_public_url)] = ""
    shuttle_replica_name: str = ""
    shuttle_replica_url: Annotated[str, AfterValidator(read_public_url)] = ""
    shuttle_aliases: Annotated[tuple[str, ...], from_text(comma_list), AfterValidator(check_aliases)] = ()

    # --- connections of callers
    shuttle_max_connections: Count = 4096
    shuttle_max_connections_per_peer: Count = 1024
    shuttle_head_timeout_seconds: Seconds = 20
    shuttle_idle_timeout_seconds: Seconds = 75
    shuttle_body_stall_seconds: Seconds = 20
    shuttle_reader_stall_seconds: Seconds = 300

    # --- state and objects
    database_url: Annotated[SecretStr, checked(check_database_url)] = SecretStr("")
    shuttle_data_dir: Path = Path(".data")
    shuttle_encryption_keys: Annotated[tuple[SecretStr, ...], from_text(comma_list)] = Field((), validate_default=True)
    s3_bucket: str = Field("", validate_default=True)
    s3_access_key: str = ""
    s3_secret_key: SecretStr = Field(SecretStr(""), validate_default=True)
    s3_location: str = ""

    # --- replicas
    shuttle_database_listen_url: Annotated[SecretStr, checked(check_server_url)] = SecretStr("")
    shuttle_database_migrate_url: Annotated[SecretStr, checked(check_server_url)] = SecretStr("")
    shuttle_heartbeat_seconds: Seconds = 5
    shuttle_lease_seconds: Seconds = Field(15, validate_default=True)
    shuttle_release_seconds: Seconds = 60
    shuttle_drain_seconds: float = Field(5, ge=0, le=MAX_SECONDS)

    # --- Jenkins
    jenkins_url: Annotated[SecretStr, checked(read_controllers)] = SecretStr("http://127.0.0.1:8080/")
    shuttle_jenkins_folder: Annotated[str, AfterValidator(check_folder)] = ""
    shuttle_jenkins_agent_label: str = ""
    shuttle_jenkins_polls_per_second: PerSecond = 200
    shuttle_jenkins_move_seconds: Seconds = 300
    shuttle_jenkins_console: Literal["summary", "full"] = "summary"
    shuttle_agent_calls_per_second: PerSecond = 200
    shuttle_trigger_settle_seconds: Seconds = 10
    shuttle_stop_grace_seconds: Annotated[Seconds, Field(le=10)] = 5
    shuttle_agent_silence_seconds: Seconds = 60

    # --- builds
    maximum_parallel_builds: Count = 4
    timeout_in_ms: int = Field(1_200_000, ge=1, le=int(MAX_SECONDS) * 1000)
    extra_build_args: Annotated[dict[str, str], from_text(read_build_args)] = Field(default_factory=dict)
    extra_docker_registry_config: Annotated[dict[str, tuple[str, SecretStr]], from_text(credentials_by_host)] = Field(
        default_factory=dict
    )
    no_cache: bool = False
    docker_registry_host: Annotated[str, AfterValidator(check_registry)] = ""
    docker_repo: str = ""
    kafka_topic: Annotated[str, AfterValidator(check_topic)] = "alamobuildlogs"
    kafka_hosts: Annotated[str, AfterValidator(check_list_of_hosts)] = ""
    shuttle_queue_limit: Count = 1000
    shuttle_max_timeout_seconds: Seconds = 86_400
    shuttle_stage_timeout_seconds: Seconds = 600
    shuttle_source_stall_seconds: Seconds = 30
    shuttle_build_deadline_seconds: Seconds = 86_400
    shuttle_shutdown_seconds: Seconds = 20

    # --- sizes
    shuttle_max_body_bytes: Annotated[Bytes, Field(ge=1024)] = 64 * MIB
    shuttle_body_memory_bytes: Bytes = 256 * MIB
    shuttle_body_disk_bytes: Bytes = 2 * GIB
    shuttle_max_source_bytes: Bytes = 2 * GIB
    shuttle_max_expanded_bytes: Bytes = 8 * GIB
    shuttle_max_line_bytes: Annotated[Bytes, Field(ge=64)] = 256 * 1024
    shuttle_log_memory_bytes: Bytes = 64 * MIB
    shuttle_max_log_bytes: Annotated[Bytes, Field(ge=1024)] = 2 * GIB
    shuttle_max_artifact_bytes: Bytes = 2 * GIB
    shuttle_max_artifacts_bytes: Bytes = 8 * GIB

    # --- retention
    shuttle_keep_sources_days: Annotated[Days, Field(gt=0)] = 30
    shuttle_keep_logs_days: Annotated[Days, Field(gt=0)] = 90
    shuttle_keep_records_days: Annotated[Days, Field(ge=0)] = 0
    shuttle_record_idle_seconds: Annotated[Seconds, Field(ge=1)] = 604_800

    # --- authorization
    shuttle_tokens: Annotated[tuple[tuple[TokenRole, SecretStr], ...], from_text(read_tokens)] = ()
    shuttle_allow_anonymous: bool = Field(default=False, validate_default=True)
    shuttle_legacy_anonymous: bool = False
    shuttle_legacy_until: Annotated[date | None, from_text(read_optional)] = None
    shuttle_hook_secret: Annotated[SecretStr, checked(check_hook_secret)] = SecretStr("")

    # --- packer over REST
    shuttle_packerd_bind: Annotated[str, AfterValidator(check_listener)] = ""
    shuttle_packerd_tls_cert: str = ""
    shuttle_packerd_tls_key: str = Field("", validate_default=True)
    shuttle_packerd_anonymous: bool = Field(default=False, validate_default=True)

    # --- outgoing
    shuttle_webhook_secret: Annotated[SecretStr, checked(check_webhook_keys)] = SecretStr("")
    shuttle_webhook_schedule_seconds: Delays = (0, 5, 15, 60, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
    shuttle_webhook_timeout_seconds: Seconds = 15
    shuttle_sink_give_up_seconds: Seconds = 86_400
    shuttle_log_resume: Literal["acknowledged", "sent"] = "acknowledged"
    shuttle_allow_networks: Annotated[tuple[Network, ...], from_text(read_networks)] = ()
    shuttle_insecure_registries: Annotated[tuple[str, ...], from_text(read_hosts)] = ()
    shuttle_ca_file: Annotated[Path | None, from_text(read_optional)] = None

    # --- Kafka
    shuttle_kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    shuttle_kafka_credentials: Annotated[dict[str, tuple[str, SecretStr]], from_text(credentials_by_host)] = Field(
        default_factory=dict
    )
    shuttle_kafka_ca_file: Annotated[Path | None, from_text(read_optional)] = None
    shuttle_kafka_request_timeout_seconds: Seconds = 30
    shuttle_kafka_idle_seconds: Seconds = 60

    @field_validator("shuttle_encryption_keys")
    @classmethod
    def _keys(cls, value: tuple[SecretStr, ...], info: ValidationInfo) -> tuple[SecretStr, ...]:
        if not value and _names_postgres(info):
            raise ValueError(
                "PostgreSQL needs a key that is not kept on this machine alone: set SHUTTLE_ENCRYPTION_KEYS"
                " (.env.example shows how to make one)"
            )
        from cryptography.fernet import Fernet  # noqa: PLC0415 - costs 30 ms that `shuttle submit` need not pay

        keys = [key.get_secret_value() for key in value]
        check_encryption_keys(keys)
        for key in keys:
            Fernet(key)
        return value

    # A rule over several settings is a validator of the last one: so it is reported together with all other problems.

    @field_validator("s3_bucket")
    @classmethod
    def _postgres_needs_a_bucket(cls, value: str, info: ValidationInfo) -> str:
        if not value and _names_postgres(info):
            raise ValueError(
                "PostgreSQL needs an object store that is not kept on this machine alone: set S3_BUCKET"
                " with S3_ACCESS_KEY and S3_SECRET_KEY"
            )
        return value

    @field_validator("shuttle_lease_seconds")
    @classmethod
    def _lease_outlasts_two_heartbeats(cls, value: float, info: ValidationInfo) -> float:
        if value < 2.5 * info.data.get("shuttle_heartbeat_seconds", 0):
            raise ValueError(
                "write at least 2.5 times SHUTTLE_HEARTBEAT_SECONDS, so that one late heartbeat changes nothing"
            )
        return value

    @field_validator("s3_secret_key")
    @classmethod
    def _s3_is_whole(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        if info.data.get("s3_bucket") and not (info.data.get("s3_access_key") and value.get_secret_value()):
            raise ValueError("S3_BUCKET needs S3_ACCESS_KEY and S3_SECRET_KEY")
        return value

    @field_validator("shuttle_allow_anonymous")
    @classmethod
    def _others_need_tokens(cls, value: bool, info: ValidationInfo) -> bool:
        bind = info.data.get("shuttle_bind", "localhost")  # absent if it is invalid itself
        if not value and not is_loopback(bind) and info.data.get("shuttle_tokens") == ():
            raise ValueError(
                f"SHUTTLE_BIND={bind} opens the service to others: set SHUTTLE_TOKENS"
                " (make one with `shuttle token new`) or SHUTTLE_ALLOW_ANONYMOUS=true"
            )
        return value

    @field_validator("shuttle_packerd_tls_key")
    @classmethod
    def _certificate_and_key(cls, value: str, info: ValidationInfo) -> str:
        certificate = info.data.get("shuttle_packerd_tls_cert", "")
        if bool(value) != (certificate not in {"", OWN_CERTIFICATE}):
            raise ValueError(
                "write the paths of SHUTTLE_PACKERD_TLS_CERT and SHUTTLE_PACKERD_TLS_KEY, or only"
                f" SHUTTLE_PACKERD_TLS_CERT={OWN_CERTIFICATE}"
            )
        return value

    @field_validator("shuttle_packerd_anonymous")
    @classmethod
    def _others_need_tokens_for_packer(cls, value: bool, info: ValidationInfo) -> bool:
        given = info.data
        bind = given.get("shuttle_packerd_bind", "")
        is_open = value or given.get("shuttle_tokens") != () or given.get("shuttle_allow_anonymous", True)
        if bind and not is_open and not is_loopback(split_listener(bind)[0]):
            raise ValueError(
                f"SHUTTLE_PACKERD_BIND={bind} opens the service to others: set SHUTTLE_TOKENS"
                " (make one with `shuttle token new`) or SHUTTLE_PACKERD_ANONYMOUS=true"
            )
        return value

    @property
    def packerd_address(self) -> tuple[str, int] | None:
        """Host and port of the listener of packer over REST; None = there is none."""
        return split_listener(self.shuttle_packerd_bind) if self.shuttle_packerd_bind else None

    @property
    def replica_name(self) -> str:
        """The name of this process: SHUTTLE_REPLICA_NAME, or the host's name and the process id."""
        return self.shuttle_replica_name or f"{socket.gethostname()}-{os.getpid()}"

    @property
    def controllers(self) -> dict[str, str]:
        """The base URLs of the Jenkins controllers by name, each with a final slash."""
        return read_controllers(self.jenkins_url.get_secret_value())

    @property
    def postgres_url(self) -> str:
        """The PostgreSQL server; "" = SQLite."""
        url = self.database_url.get_secret_value()
        return url if is_postgres(url) else ""

    @property
    def binds_loopback(self) -> bool:
        """Whether only programs on this machine can reach the service."""
        return is_loopback(self.shuttle_bind)

    @property
    def database_path(self) -> Path:
        """The SQLite file."""
        url = self.database_url.get_secret_value()
        return Path(url.removeprefix("sqlite:///")) if url else self.shuttle_data_dir / "shuttle.db"

    @property
    def webhook_keys(self) -> tuple[bytes, ...]:
        """The keys for signing statuses; each status is signed with every key, and not at all if there are none."""
        return read_webhook_keys(self.shuttle_webhook_secret.get_secret_value())

    @property
    def timeout_seconds(self) -> float:
        """The time limit of a build whose request has none."""
        return self.timeout_in_ms / 1000


def _names_postgres(info: ValidationInfo) -> bool:
    url = info.data.get("database_url")
    return isinstance(url, SecretStr) and is_postgres(url.get_secret_value())
