"""Checks a file against the SARIF 2.1.0 schema that stands beside this program. Exit 0: valid."""
import json
import pathlib
import sys

from jsonschema import Draft4Validator

# As published with the npm package @microsoft/jest-sarif (MIT).
schema = json.loads((pathlib.Path(__file__).parent / "data" / "sarif-2.1.0-rtm.5.json").read_text())
errors = list(Draft4Validator(schema).iter_errors(json.loads(pathlib.Path(sys.argv[1]).read_text())))
for error in errors:
    print(list(error.absolute_path), error.message)
sys.exit(bool(errors))
