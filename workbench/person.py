"""Who is at work: by the settings, by JupyterHub, or by the operating system."""

import getpass
import os


def person(named: str = "") -> str:
    """Return the name under which a person draws.

    Parameters
    ----------
    named
        What the settings or the person say; else it is the user of JupyterHub, where a notebook runs there,
        or of the operating system.
    """
    return named or os.environ.get("JUPYTERHUB_USER") or os_user()


def os_user() -> str:
    """Return the user of the operating system, whatever the environment says."""
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):  # Windows, or a user without a name
        return getpass.getuser()
