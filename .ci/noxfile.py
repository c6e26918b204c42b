"""The suite on every supported Python: ``nox -f .ci/noxfile.py`` (or ``-s tests-3.12`` for one)."""

import nox

nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True


@nox.session(python=["3.10", "3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """Install the project as README says, and run its tests."""
    session.chdir("..")
    session.install("-e", ".[dev]")
    session.run("pytest", "-n", "auto", *session.posargs)
