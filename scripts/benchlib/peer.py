"""Runs one scanner of models in this process over every file of a directory; says what it says of each, as JSON.

    peer.py TOOL DIR SECONDS       TOOL: picklescan, modelscan, fickling, modelaudit

For each file `alarm`, `quiet` or `error`, and `unfinished` for those that the tool had not come to after SECONDS. The tools are called as their own command line calls them, but in one
process, so that none of them pays for a start of Python for each file.
"""
import contextlib
import io
import json
import logging
import os
import pathlib
import resource
import sys
import time
import warnings

# modelaudit tells its maker about every scan unless it is told not to.
os.environ.update(PROMPTFOO_DISABLE_TELEMETRY="1", NO_ANALYTICS="1", HF_HUB_OFFLINE="1")
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)


def picklescan():
    from picklescan.scanner import scan_file_path

    def scan(path):
        result = scan_file_path(path)
        return "alarm" if result.issues_count else "error" if result.scan_err else "quiet"
    return scan


def modelscan():
    from modelscan.modelscan import ModelScan

    def scan(path):
        result = ModelScan().scan(path)
        if result["summary"]["total_issues"]:
            return "alarm"
        # A file that it skips is one of which it says nothing.
        skipped = result["summary"].get("skipped", {}).get("total_skipped", 0)
        return "error" if result.get("errors") or skipped else "quiet"
    return scan


def fickling():
    import fickling

    return lambda path: "quiet" if fickling.is_likely_safe(path) else "alarm"


def modelaudit():
    from modelaudit.core import determine_exit_code, scan_model_directory_or_file

    def scan(path):
        code = determine_exit_code(scan_model_directory_or_file(path))
        return {0: "quiet", 1: "alarm"}.get(code, "error")
    return scan


def main():
    tool, directory, seconds = sys.argv[1:]
    sink = io.StringIO()
    said = {}
    with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
        scan = {"picklescan": picklescan, "modelscan": modelscan, "fickling": fickling, "modelaudit": modelaudit}[tool]()
        end = time.monotonic() + float(seconds)
        before = resource.getrusage(resource.RUSAGE_SELF)
        for path in sorted(pathlib.Path(directory).iterdir()):
            if time.monotonic() > end:
                said[path.name] = "unfinished"
                continue
            try:
                said[path.name] = scan(str(path))
            except (Exception, SystemExit) as error:
                said[path.name] = "error"
                sink.write(repr(error))
            sink.seek(0)
            sink.truncate()
        after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"said": said, "cpu": cpu}))


if __name__ == "__main__":
    main()
