"""What breaks a build: edits at the wrong moment, kills at any moment, two builds at once, files in odd places.

After each test, no half-written file and no process may be left in the project.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import SPEC, Project
from doit_tflm import archive
from doit_tflm.journal import Journal

SCRIPT = "models/kws.py"
WEIGHTS = "models/kws.mltk.zip"
JOURNAL = "build/.doit-tflm.journal"
FROM_CALIBRATE = {"calibrate", "quantize", "verify", "embed", "archive", "header"}
UP_TO_DATE = "1 model is up to date\n"
PATIENCE_S = 30.0


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def processes_in(root: Path) -> list[str]:
    """Return the command lines of the processes that run in a directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").resolve(strict=True) == root.resolve():
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    for root in {path.parent for path in tmp_path.glob("*/dodo.py")}:
        wait_until(lambda root=root: not processes_in(root))
        assert not list(root.rglob("*.part"))


class Held:
    """A build that has come as far as calibration, and goes on when `release` is called."""

    def __init__(self, project: Project, *arguments: str) -> None:
        self.project = project
        project.write("hold-calibration", "")
        self.process = project.start(*arguments, "quantize")
        reached = project.path("calibrating")
        wait_until(lambda: (reached.exists() and reached.read_text().endswith("\n")) or self.process.poll())
        assert self.process.poll() is None, self.process.communicate()
        self.worker = int(reached.read_text())

    def release(self) -> None:
        self.project.path("hold-calibration").unlink(missing_ok=True)
        self.project.path("calibrating").unlink(missing_ok=True)

    def finish(self) -> tuple[int, str, str]:
        """Let it go on; return its exit code and what it printed."""
        self.release()
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out, err

    def kill(self, number: int, *, group: bool = False) -> None:
        """Send a signal to doit, or to its whole process group, and wait for its end."""
        (os.killpg if group else os.kill)(self.process.pid, number)
        self.process.communicate(timeout=PATIENCE_S)
        wait_until(lambda: not processes_in(self.project.root))
        self.release()


def weigh(project: Project, weights: bytes, model: str = "kws") -> None:
    """Put other weights into a model's archive."""
    archive.update_members(project.path(f"models/{model}.mltk.zip"), {f"{model}.keras": weights})


def rewrite(path: Path, old: bytes, new: bytes) -> None:
    """Change a file's content, and neither its size nor its modification time."""
    before, content = path.stat(), path.read_bytes()
    assert len(old) == len(new)
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns


# An input that is edited while its action runs.


def test_weights_written_while_they_are_read_are_read_again_by_the_next_build(
    built: Project, make_project: Callable[..., Project]
) -> None:
    weigh(built, b"second")
    held = Held(built)
    weigh(built, b"third")
    code, out, err = held.finish()
    assert code == 0, out + err
    again = built.build()
    assert set(again.stages) == FROM_CALIBRATE
    assert built.build().out == UP_TO_DATE
    clean = make_project("clean")
    weigh(clean, b"third")
    clean.build()
    assert built.outputs() == clean.outputs()


def test_weights_written_and_put_back_while_they_are_read_give_the_outputs_of_a_clean_build(
    built: Project, make_project: Callable[..., Project]
) -> None:
    weigh(built, b"second")
    held = Held(built)
    weigh(built, b"third")
    weigh(built, b"second")
    assert held.finish()[0] == 0
    built.build()
    assert built.build().out == UP_TO_DATE
    clean = make_project("clean")
    weigh(clean, b"second")
    clean.build()
    assert built.outputs() == clean.outputs()


def test_an_intermediate_file_edited_while_it_is_read_is_made_and_read_again(built: Project) -> None:
    weigh(built, b"second")
    held = Held(built)
    samples = built.path("build/kws/samples.npz")
    good = samples.read_bytes()
    samples.write_bytes(good + b"!")
    assert held.finish()[0] == 0
    run = built.build()
    assert run.stages[:2] == ["sample", "calibrate"]
    assert samples.read_bytes() == good
    assert built.build().out == UP_TO_DATE


HOLDING_SPEC = SPEC.replace(
    "    x = np",
    "    import os\n\n"
    "    rows = open('rows.txt').read()\n"
    "    while os.path.exists('hold'):\n"
    "        open('holding', 'w').close()\n"
    "    x = int(rows) * np",
)


def test_a_data_file_edited_while_it_is_read_is_read_again_by_the_next_build(project: Project) -> None:
    project.write(SCRIPT, HOLDING_SPEC)
    project.write("rows.txt", "1")
    project.write("hold", "")
    process = project.start("quantize")
    wait_until(project.path("holding").exists)
    project.write("rows.txt", "2")
    project.path("hold").unlink()
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, out + err
    first = project.path("build/kws/samples.npz").read_bytes()
    assert set(project.build().stages) == {"sample", *FROM_CALIBRATE}
    assert project.path("build/kws/samples.npz").read_bytes() != first
    assert project.build().out == UP_TO_DATE


def test_a_specification_edited_while_it_is_run_is_run_again_by_the_next_build(project: Project) -> None:
    project.write(
        SCRIPT, SPEC + "\nimport os\n\nwhile os.path.exists('hold'):\n    open('holding', 'w').close()\n"
    )
    project.write("hold", "")
    process = project.start("quantize")
    wait_until(project.path("holding").exists)
    project.edit(SCRIPT, "version=1", "version=2")
    project.path("hold").unlink()
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, out + err
    run = project.build()
    assert set(run.stages) == {"spec", "embed", "archive", "header"}
    assert run.why("embed") == "version: 1 → 2"
    assert project.build().out == UP_TO_DATE


# The same modification time, other content.


def test_a_specification_with_the_same_size_and_time_but_other_content_is_noticed(built: Project) -> None:
    built.build()
    rewrite(built.path(SCRIPT), b"version=1", b"version=2")
    assert set(built.build().stages) == {"spec", "embed", "archive", "header"}


def test_weights_with_the_same_size_and_time_but_other_content_are_noticed(project: Project) -> None:
    project.write(SCRIPT, SPEC.replace("epochs = 3", "epochs = 3\nmy_model.weights = 'best.keras'"))
    project.write("best.keras", "weights 1")
    project.build()
    rewrite(project.path("best.keras"), b"1", b"2")
    assert set(project.build().stages) == FROM_CALIBRATE


def test_edits_within_one_tick_of_the_clock_are_all_noticed(project: Project) -> None:
    project.write(SCRIPT, SPEC.replace("epochs = 3", "epochs = 3\nmy_model.weights = 'best.keras'"))
    project.write("best.keras", "weights 0")
    project.build()
    for number in range(1, 4):
        project.write("best.keras", f"weights {number}")
        assert set(project.build().stages) == FROM_CALIBRATE


# Kills.


@pytest.mark.parametrize("group", [True, False], ids=["with its workers", "alone"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_killed_build_whose_input_is_reverted_leaves_the_former_outputs(
    built: Project, number: signal.Signals, *, group: bool
) -> None:
    before = built.outputs()
    weigh(built, b"second")
    Held(built).kill(number, group=group)
    weigh(built, b"weights")
    built.build()
    assert built.outputs() == before
    assert built.build().out == UP_TO_DATE


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_killed_build_keeps_the_stages_that_were_finished(project: Project, number: signal.Signals) -> None:
    Held(project).kill(number)
    assert set(project.build().stages) == FROM_CALIBRATE


def test_a_killed_build_is_not_waited_for(built: Project) -> None:
    weigh(built, b"second")
    Held(built).kill(signal.SIGKILL)
    run = built.build()
    assert run.err == ""
    assert set(run.stages) == FROM_CALIBRATE


def test_a_worker_that_is_killed_fails_its_stage_alone(built: Project) -> None:
    before = built.outputs()
    weigh(built, b"second")
    held = Held(built)
    os.kill(held.worker, signal.SIGKILL)
    code, out, err = held.finish()
    assert code != 0
    assert "kws: calibrate failed\n" in out
    assert "SIGKILL" in out
    assert "build/kws/calibrate.log" in out
    assert "Traceback" not in out + err
    assert built.outputs() == before
    assert set(built.build().stages) == FROM_CALIBRATE


def test_half_written_files_of_killed_writers_are_swept(built: Project) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = built.path(f"build/kws/.calibrated.tflite.{dead.pid}.part")
    left.write_bytes(b"half")
    weigh(built, b"second")
    built.build()
    assert not left.exists()


# The journal.


@pytest.fixture
def journal(built: Project) -> Path:
    return built.path(JOURNAL)


def tasks_in(path: Path) -> set[str]:
    """Return the tasks that a journal knows the whole state of."""
    found = Journal(str(path))
    names = [
        *(f"{task}:kws" for task in (*FROM_CALIBRATE, "convert", "spec", "sample")),
        "quantize",
        "_session",
    ]
    return {name for name in names if found.in_(name) and found.get(name, "deps:") is not None}


def finished_before(data: bytes, length: int) -> set[str]:
    """Return the tasks whose line ends within so many bytes, with or without its newline."""
    names = set()
    end = 0
    for line in data.split(b"\n"):
        end += len(line)
        if end <= length and b"\tT\t" in line:
            names.add(line.split(b"\t")[2].decode())
        end += 1
    return names


def test_a_journal_cut_at_any_length_loses_what_was_cut_and_no_more(journal: Path, tmp_path: Path) -> None:
    data = journal.read_bytes()
    cut = tmp_path / "cut"
    assert len(tasks_in(journal)) >= 8
    for length in range(len(data) + 1):
        cut.write_bytes(data[:length])
        assert tasks_in(cut) == finished_before(data, length), f"cut at {length}"


def test_a_journal_cut_at_any_length_of_a_line_takes_new_lines(journal: Path, tmp_path: Path) -> None:
    data = journal.read_bytes()
    cut = tmp_path / "cut"
    for length in range(data.index(b"\n") + 300):
        cut.write_bytes(data[:length])
        (tmp_path / "cut.lock").unlink(missing_ok=True)
        before = tasks_in(cut)
        writer = Journal(str(cut))
        writer.begin()
        writer.set("embed:kws", "_values_:", {"new": length})
        writer.set("embed:kws", "deps:", [])
        writer.dump()
        assert tasks_in(cut) == before | {"embed:kws"}
        assert Journal(str(cut)).get("embed:kws", "_values_:") == {"new": length}


def test_a_damaged_line_of_the_journal_loses_its_task_and_no_other(journal: Path, tmp_path: Path) -> None:
    lines = journal.read_bytes().split(b"\n")
    everything = tasks_in(journal)
    damaged = tmp_path / "damaged"
    for number, line in enumerate(lines[1:-1], 1):
        name = line.split(b"\t")[2].decode()
        for place in range(0, len(line), 7):
            bad = line[:place] + bytes([line[place] ^ 0x5A]) + line[place + 1 :]
            damaged.write_bytes(b"\n".join([*lines[:number], bad, *lines[number + 1 :]]))
            assert tasks_in(damaged) >= everything - {name}


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"\0" * 4096, bytes(range(256)) * 16, b'{"a": 1}', b"doit-tflm journal 1", b"SQLite format 3\0"],
    ids=["empty", "newline", "zeros", "garbage", "json", "only the first line", "another database"],
)
def test_a_file_that_is_no_journal_makes_a_full_build(built: Project, content: bytes) -> None:
    before = built.outputs()
    built.path(JOURNAL).write_bytes(content)
    assert len(built.build().stages) == 8
    assert built.outputs() == before
    assert built.build().out == UP_TO_DATE


def test_a_journal_with_one_line_lost_runs_one_stage(built: Project) -> None:
    lines = built.path(JOURNAL).read_bytes().splitlines(keepends=True)
    built.path(JOURNAL).write_bytes(b"".join(line for line in lines if b"\tembed:kws\t" not in line))
    run = built.build()
    assert run.stages == ["embed"]
    assert run.why("embed") == "no record of an earlier build"


def test_the_journal_does_not_grow_for_ever(built: Project) -> None:
    path = str(built.path(JOURNAL))
    for number in range(400):
        writer = Journal(path)
        writer.begin()
        writer.set("embed:kws", "_values_:", {"number": number})
        writer.set("embed:kws", "deps:", [])
        writer.dump()
    assert len(built.path(JOURNAL).read_bytes().splitlines()) < 300
    assert Journal(path).get("embed:kws", "_values_:") == {"number": 399}
    assert len(tasks_in(built.path(JOURNAL))) >= 8


# Several at once.


def test_a_second_build_waits_for_the_first_and_does_nothing_twice(built: Project) -> None:
    weigh(built, b"second")
    held = Held(built)
    second = built.start("quantize")
    assert second.stderr is not None
    assert second.stderr.readline().startswith(f"waiting for process {held.process.pid} (")
    code, out, err = held.finish()
    assert code == 0, out + err
    out, err = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 0, out + err
    assert out == UP_TO_DATE


def test_two_first_builds_at_once_do_each_stage_once(project: Project) -> None:
    runs = [project.start("quantize") for _ in range(2)]
    outputs = [run.communicate(timeout=PATIENCE_S)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert "".join(outputs).count("kws: ") == 8
    assert UP_TO_DATE in outputs


def test_a_build_that_waited_sees_what_was_edited_meanwhile(built: Project) -> None:
    weigh(built, b"second")
    held = Held(built)
    second = built.start("quantize")
    assert second.stderr is not None
    assert second.stderr.readline().startswith("waiting for process ")
    built.edit(SCRIPT, "version=1", "version=2")
    assert held.finish()[0] == 0
    out, err = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 0, out + err
    assert "kws: embed      (version: 1 → 2)" in out
    assert built.build().out == UP_TO_DATE


FOUR = ("a", "b", "c", "d")


@pytest.fixture(scope="session")
def serial(tmp_path_factory: pytest.TempPathFactory, template: Project) -> dict[str, bytes]:
    """Return the outputs of four models, built one after the other."""
    project = four_models(template, tmp_path_factory.mktemp("serial") / "project")
    project.build()
    return project.outputs()


def four_models(template: Project, root: Path) -> Project:
    root.mkdir()
    project = Project(root)
    for name in ("dodo.py", "pyproject.toml", "standin.py"):
        shutil.copy(template.path(name), root)
    for number, name in enumerate(FOUR):
        project.add_model(name, SPEC.replace("SCALE = 1.0", f"SCALE = {number}.0"), b"weights of " + name.encode())
    return project


@pytest.mark.parametrize("kind", [(), ("-P", "thread"), ("-P", "process")], ids=" ".join)
def test_parallel_builds_do_each_stage_once_and_give_the_same_bytes(
    template: Project, tmp_path: Path, serial: dict[str, bytes], kind: tuple[str, ...]
) -> None:
    project = four_models(template, tmp_path / "project")
    run = project.build("-n", "4", *kind)
    assert len(run.ran) == len(set(run.ran)) == 4 * 8, run.out
    assert project.outputs() == serial
    assert project.build("-n", "4", *kind).out == "4 models are up to date\n"
    assert project.build().out == "4 models are up to date\n"
    project.edit("models/b.py", "version=1", "version=2")
    run = project.build("-n", "4", *kind)
    assert set(run.ran) == {f"b:{stage}" for stage in ("spec", "embed", "archive", "header")}
    assert run.why("embed") == "version: 1 → 2"


@pytest.mark.parametrize("kind", [(), ("-P", "process")], ids=" ".join)
def test_a_killed_parallel_build_keeps_what_was_finished(
    template: Project, tmp_path: Path, kind: tuple[str, ...]
) -> None:
    project = four_models(template, tmp_path / "project")
    Held(project, "-n", "4", *kind).kill(signal.SIGKILL)
    run = project.build()
    assert len(run.ran) == len(set(run.ran)) < 4 * 8
    assert project.build().out == "4 models are up to date\n"


# Failures.


CRASHING = SPEC.replace(
    "    x = np", "    import os\n    import signal\n\n    os.kill(os.getpid(), signal.SIGSEGV)\n    x = np"
)


@pytest.mark.parametrize("parallel", [(), ("-n", "3"), ("-n", "3", "-P", "process")], ids=" ".join)
def test_a_crash_fails_one_stage_and_the_other_models_are_built(
    make_project: Callable[..., Project], parallel: tuple[str, ...]
) -> None:
    project = make_project(models=("a", "kws", "z"))
    project.write(SCRIPT, CRASHING)
    run = project.doit("--continue", *parallel, "quantize")
    assert run.code not in (0, 3)
    assert "kws: sample failed\n" in run.out
    assert "SIGSEGV" in run.out
    assert "build/kws/sample.log" in run.out
    assert "Traceback" not in run.out + run.err
    assert {name for name in run.ran if not name.startswith("kws:")} == {
        f"{model}:{stage}" for model in "az" for stage in ("spec", "sample", *FROM_CALIBRATE)
    }
    assert project.path("firmware/generated/z_model_data.c").exists()
    assert not project.path("build/kws/samples.npz").exists()


def test_an_exit_of_the_users_code_fails_one_stage(project: Project) -> None:
    project.write(SCRIPT, SPEC.replace("    x = np", "    import os\n\n    os._exit(7)\n    x = np"))
    run = project.doit("quantize")
    assert run.code not in (0, 3)
    assert "exit code 7" in run.out
    assert "Traceback" not in run.out + run.err


@pytest.mark.parametrize(
    "mistake", ["raise ValueError('no')", "1 +", "my_model.version = 'x'", "import nowhere"], ids=lambda m: m[:6]
)
def test_a_failing_specification_leaves_the_former_outputs(built: Project, mistake: str) -> None:
    before, journal = built.outputs(), tasks_in(built.path(JOURNAL))
    good = built.path(SCRIPT).read_text()
    built.write(SCRIPT, f"{good}\n{mistake}\n")
    run = built.doit("quantize")
    assert run.code not in (0, 3)
    assert "kws: spec failed\n" in run.out
    assert SCRIPT in run.out
    assert built.outputs() == before
    built.write(SCRIPT, good)
    assert set(built.build().stages) <= {"spec"}
    assert tasks_in(built.path(JOURNAL)) == journal
    assert built.outputs() == before


def test_a_failed_stage_fails_again_until_it_is_mended(built: Project) -> None:
    built.edit(SCRIPT, "    x = np", "    raise ValueError('no data')\n    x = np")
    for _ in range(2):
        run = built.doit("quantize")
        assert run.code not in (0, 3)
        assert "kws: sample failed\n" in run.out
        assert "no data" in run.out


@pytest.mark.parametrize("name", ["kws.mltk.zip", "kws.py"])
def test_a_file_that_cannot_be_looked_at_fails_its_model_alone(
    make_project: Callable[..., Project], name: str
) -> None:
    project = make_project(models=("a", "kws", "z"))
    project.build()
    project.path(f"models/{name}").unlink()
    project.path(f"models/{name}").symlink_to(name)  # a loop: stat itself fails
    project.edit("models/z.py", "version=1", "version=2")
    run = project.doit("--continue", "quantize")
    assert run.code not in (0, 3)
    assert name in run.out + run.err
    assert "Traceback" not in run.out + run.err
    assert "z:header" in run.ran
    project.path(f"models/{name}").unlink()
    project.add_model("kws")
    project.build()


# Paths and files in odd places.


@pytest.mark.parametrize(
    "form", ["./{}", "{root}/{}", "other/../{}", "{}/"], ids=["dot", "absolute", "up", "slash"]
)
def test_settings_may_spell_paths_in_any_way(built: Project, form: str) -> None:
    before = built.outputs()
    table = built.path("pyproject.toml").read_text()
    built.path("other").mkdir()
    for key, path in (("models_dir", "models"), ("build_dir", "build"), ("header_dir", "firmware/generated")):
        table += f'{key} = "{form.format(path, root=built.root)}"\n'
    built.write("pyproject.toml", table)
    assert built.build().out == UP_TO_DATE
    built.path("build/kws/samples.npz").write_bytes(b"")
    assert built.build().stages == ["sample"], "the edge from sample to calibrate holds"
    assert built.outputs() == before


@pytest.mark.parametrize("form", ["./{}", "{root}/{}", "other/../{}"], ids=["dot", "absolute", "up"])
def test_a_specification_may_spell_paths_in_any_way(project: Project, form: str) -> None:
    project.write("best.keras", "weights")
    project.write("data/points.csv", "1")
    project.path("other").mkdir()
    spell = {name: form.format(name, root=project.root) for name in ("best.keras", "data/*.csv", "firmware/src")}
    project.write(
        SCRIPT,
        f"{SPEC}my_model.weights = {spell['best.keras']!r}\n"
        f"my_model.data_files = [{spell['data/*.csv']!r}]\n"
        f"my_model.header.directory = {spell['firmware/src']!r}\n",
    )
    project.build()
    assert project.path("firmware/src/kws_model_data.c").exists()
    assert project.build().out == UP_TO_DATE
    for facet in ("graph", "calibration", "header"):
        assert str(project.root) not in project.path(f"build/kws/{facet}.json").read_text()
    project.write("best.keras", "others")
    assert set(project.build().stages) == FROM_CALIBRATE
    project.write("data/points.csv", "2")
    assert set(project.build().stages) == {"spec", "sample"}


def test_an_absolute_build_directory_outside_of_the_project_works(project: Project, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    project.write("pyproject.toml", project.path("pyproject.toml").read_text() + f'build_dir = "{outside}"\n')
    assert len(project.build().stages) == 8
    assert project.build().out == UP_TO_DATE
    assert (outside / "kws/kws.tflite").exists()
    assert not project.path("build").exists()


def fails_plainly(project: Project, *mentioned: str) -> None:
    """Check that a build fails with a message, and without a traceback."""
    run = project.doit("quantize")
    text = run.out + run.err
    assert run.code != 0, text
    assert "Traceback" not in text, text
    for word in mentioned:
        assert word in text


@pytest.mark.parametrize("path", [SCRIPT, WEIGHTS])
def test_a_directory_in_place_of_an_input_is_a_message(built: Project, path: str) -> None:
    kept = built.path(path).read_bytes()
    built.path(path).unlink()
    built.path(path).mkdir()
    fails_plainly(built, path)
    built.path(path).rmdir()
    built.path(path).write_bytes(kept)
    built.build()


@pytest.mark.parametrize("path", ["build/kws/samples.npz", "firmware/generated/kws_model_data.c"])
def test_a_directory_with_files_in_place_of_an_output_is_a_message_and_is_kept(built: Project, path: str) -> None:
    built.path(path).unlink()
    built.write(f"{path}/mine", "mine")
    fails_plainly(built, path)
    assert built.path(f"{path}/mine").read_text() == "mine"


@pytest.mark.parametrize("path", ["build", "build/kws", "firmware/generated"])
def test_a_file_in_place_of_a_directory_is_a_message(built: Project, path: str) -> None:
    shutil.rmtree(built.path(path))
    built.write(path, "a file")
    fails_plainly(built, path)
    assert built.path(path).read_text() == "a file"


@pytest.mark.parametrize("path", ["build", "build/kws"])
def test_a_read_only_build_directory_is_a_message(built: Project, path: str) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    built.edit(SCRIPT, "version=1", "version=2")
    built.path(path).chmod(0o555)
    try:
        fails_plainly(built, path)
    finally:
        built.path(path).chmod(0o755)


def test_a_damaged_archive_is_a_message_and_is_left_alone(built: Project) -> None:
    damaged = built.path(WEIGHTS).read_bytes()[:-30]
    built.path(WEIGHTS).write_bytes(damaged)
    fails_plainly(built, WEIGHTS)
    assert built.path(WEIGHTS).read_bytes() == damaged


def test_a_model_that_is_taken_away_leaves_the_others_up_to_date(make_project: Callable[..., Project]) -> None:
    project = make_project(models=("a", "kws"))
    project.build()
    project.path(SCRIPT).unlink()
    assert project.build().out == UP_TO_DATE
