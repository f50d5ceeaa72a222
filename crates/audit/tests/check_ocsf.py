"""Checks entries, one JSON object a line, against the published OCSF 1.8.0 schema (packages ocsf-json-schema and
jsonschema). Exit 0: all valid.
"""
import json, sys
from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

schema = get_ocsf_schema(version="1.8.0")
embedded = OcsfJsonSchemaEmbedded(schema)
names = {c["uid"]: name for name, c in schema["classes"].items() if c.get("uid")}
validators, bad, count, kinds = {}, 0, 0, set()

def constraint_errors(kind, definition, value):
    """What JSON schema cannot say and OCSF does: at_least_one and just_one."""
    for rule, members in (definition.get("constraints") or {}).items():
        present = [m for m in members if m in value]
        if (rule == "at_least_one" and not present) or (rule == "just_one" and len(present) != 1):
            yield "%s: %s of %s" % (kind, rule, members)
    for name, attribute in definition["attributes"].items():
        inner = value.get(name)
        items = inner if isinstance(inner, list) else [inner]
        for item in items:
            if isinstance(item, dict) and attribute.get("object_type") in schema["objects"]:
                yield from constraint_errors(name, schema["objects"][attribute["object_type"]], item)

for line in open(sys.argv[1], "rb"):
    event = json.loads(line)
    count += 1
    uid, profiles = event["class_uid"], event.get("metadata", {}).get("profiles", [])
    key = (uid, tuple(profiles))
    if key not in validators:
        validators[key] = Draft202012Validator(embedded.get_class_schema(class_name=names[uid], profiles=list(profiles)))
    definition = schema["classes"][names[uid]]
    errors = [e.message for e in validators[key].iter_errors(event)]
    errors += constraint_errors(names[uid], definition, event)
    activity = definition["attributes"]["activity_id"]["enum"]
    if str(event.get("activity_id")) not in activity:
        errors.append("activity_id %s" % event.get("activity_id"))
    if event.get("type_uid") != uid * 100 + event.get("activity_id", -1) or event.get("category_uid") != uid // 1000:
        errors.append("type_uid or category_uid")
    if errors:
        bad += 1
        print(event.get("message"), names[uid], errors[:3])
    else:
        kinds.add(event["unmapped"]["strongroom"]["event"])
print("%d entries, %d bad, %d kinds" % (count, bad, len(kinds)))
sys.exit(1 if bad or not count else 0)
