"""Open a run folder: create it, or continue the run in it."""

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax

from experiments.run.distributed import call_on_first
from experiments.run.folder import saved_config, start_log
from experiments.run.folder.atomic_files import write_atomically
from experiments.run.folder.continuation import (
    MAY_CHANGE_ON_RESUME,
    Continuation,
    check_run,
    is_blank,
    resume_command,
)
from experiments.run.folder.folder_lock import FolderLock
from experiments.run.folder.json_types import config_to_json, encode
from experiments.run.folder.provenance import versions
from experiments.run.folder.run_folder import Run
from experiments.run.folder.start_log import StartLog
from pid.interface.local_paths import check_local

_new_folders: dict[Path, list[Path]] = {}
"""Run folder -> the folders that this process has made for it, the deepest first."""


def open_run(
    folder: str | Path,
    config: Any,
    *,
    resume: bool = False,
    may_change: Sequence[str] = MAY_CHANGE_ON_RESUME,
    renamed: Mapping[str, str] | None = None,
    continuation: Continuation[Any] | None = None,
) -> Run:
    """Create a run folder, or with `resume` open the existing one. Either way, lock it.

    The lock is released at the end of `with open_run(...) as run:`, by `Run.close`, or when the process ends.

    Args:
        folder: the folder, which is created if it does not exist.
        config: a frozen dataclass, written to `config.json`.
        resume: whether to continue the run in the folder.
        may_change: names of top-level fields that may differ from the saved configuration.
        renamed: old -> new names of top-level fields in configurations that an earlier release has saved.
        continuation: what the program accepts on resume. It takes the place of the two arguments above.

    Raises:
        FileExistsError: the folder has files and `resume` is False, or another process works in the folder.
        FileNotFoundError: there is no run to resume.
        ValueError: the folder has files but no run, its run has another configuration or is of another program, or a
            file is damaged. The message names every differing field with its saved and its present value.
    """
    check_local(folder, "a run folder")
    folder = Path(folder).absolute()
    continuation = continuation or Continuation(may_change=may_change, renamed=renamed or {})
    enter = _continue if resume else _create
    return call_on_first(lambda: enter(folder, config, continuation)) or Run(folder)


def next_folder(parent: Path, stem: str) -> Path:
    """Create and return `parent`/stem-NNN with the next free number."""
    for number in itertools.count(1):
        folder = parent / f"{stem}-{number:03}"
        try:
            _make(folder, exist_ok=False)
        except FileExistsError:
            continue
        return folder
    raise AssertionError("count() never ends")


def _create(folder: Path, config: Any, continuation: Continuation[Any]) -> Run:
    """Lock a new or empty folder, and save the configuration."""
    if folder.is_dir() and not is_blank(folder) and not (folder / "lock").exists():
        raise _not_empty(folder)  # before the lock, which would leave a file in the folder of somebody else
    try:
        _make(folder, exist_ok=True)
    except OSError as error:
        raise type(error)(
            f"a run needs a folder of its own, got {folder}, which cannot be made ({error.strerror}); use another "
            f"--out."
        ) from None
    lock = FolderLock(folder)
    try:
        if not is_blank(folder):
            raise _not_empty(folder)
        for name in (start_log.NAME, start_log.VERSIONS):
            (folder / name).unlink(missing_ok=True)
        _delete_partial(folder)
        write_atomically(folder / saved_config.NAME, encode(config_to_json(config)))
        start = StartLog(folder, continuation.program)
        write_atomically(folder / start_log.VERSIONS, encode(versions() | {"program": continuation.program}))
    except BaseException:
        lock.release()
        _remove_empty(folder)
        raise
    return Run(folder, lock, start, _hint(folder, continuation), partial(_discard, folder, lock))


def _continue(folder: Path, config: Any, continuation: Continuation[Any]) -> Run:
    """Lock the folder of a run, and compare its configuration, program and start with the present ones."""
    check_run(folder)
    continuation.check_program(folder)
    lock, saved = FolderLock(folder), folder / saved_config.NAME
    try:
        start, former = StartLog(folder, continuation.program), saved.read_bytes()
        notes = _merge(folder, config, continuation)
        _delete_partial(folder)
    except BaseException:
        lock.release()
        raise
    if start.differences:
        notes.append(
            f"resumed with {', '.join(start.differences)}: what it computes can differ in the last bits"
        )
    return Run(
        folder,
        lock,
        start,
        (*_hint(folder, continuation), *notes),
        partial(write_atomically, saved, former),
    )


def _make(folder: Path, *, exist_ok: bool) -> None:
    """Create a folder with its parents, and remember which of them are new."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=exist_ok)
    if new:
        _new_folders[folder.absolute()] = new


def _remove_empty(folder: Path) -> None:
    """Delete the folders that this process has made for a run and that are empty."""
    for path in _new_folders.pop(folder, []):
        with contextlib.suppress(OSError):  # it has files
            path.rmdir()


def _discard(folder: Path, lock: FolderLock) -> None:
    """Delete the files of a start that has computed nothing, and its folders if nothing else is in them."""
    for name in (saved_config.NAME, start_log.DATA, start_log.VERSIONS):
        (folder / name).unlink(missing_ok=True)
    lock.release()
    _remove_empty(folder)


def _hint(folder: Path, continuation: Continuation[Any]) -> tuple[str, ...]:
    """Return the sentence with the command that continues the run."""
    hosts = ", with the --hosts options of each process" if jax.process_count() > 1 else ""
    program = continuation.program
    return (f"after a kill: {resume_command(program, folder)}{hosts}",) if program else ()


def _merge(folder: Path, config: Any, continuation: Continuation[Any]) -> list[str]:
    """Compare the configuration with the saved one, save what it adds, and return what to say about both.

    Raises:
        ValueError: the saved configuration is damaged, or differs in more than additions.
    """
    fields, now, notes = saved_config.read_fields(folder, continuation.renamed), config_to_json(config), []
    saved, more = fields, {}
    if continuation.presets:
        built, unknown = continuation.read(folder)
        saved, extension = config_to_json(built), continuation.extend(built, config)
        more = {
            name: value
            for name, value in config_to_json(extension.config).items()
            if name in extension.fields
        }
        if unknown:
            notes.append(f"options of another release are left out: {', '.join(unknown)}")
    complete = {name for name, value in more.items() if now[name] == value}
    if differing := saved_config.differences(saved, now, {*continuation.may_change, *complete}):
        raise ValueError(
            f"--resume needs the configuration that the run was started with, got a difference in "
            f"{'; '.join(f'{name}: {values}' for name, values in differing.items())}; use the saved values "
            f"({folder / saved_config.NAME}) or another --out."
        )
    if added := saved_config.differences(saved, saved | more, ()):
        notes.append(f"added to the run: {'; '.join(f'{name}: {values}' for name, values in added.items())}")
        write_atomically(folder / saved_config.NAME, encode(fields | more))
    return notes


def _not_empty(folder: Path) -> FileExistsError:
    return FileExistsError(
        f"a run needs a folder of its own, got {folder} which has files; use --resume to continue its run, or another "
        f"--out."
    )


def _delete_partial(folder: Path) -> None:
    """Delete the half-written files that a kill has left."""
    for path in list(folder.rglob("*.part")):
        path.unlink()
