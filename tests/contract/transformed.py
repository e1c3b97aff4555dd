"""Prints SAM's transformation of the template named on the command line. Runs in SAM's own environment."""

import json
import sys

from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

_LOCAL = ("CodeUri", "ContentUri", "DefinitionUri")


def main() -> None:
    """Transform the template like CloudFormation, with addresses like those of `sam package`."""
    with open(sys.argv[1]) as opened:
        template = yaml_parse(opened)
    properties = [resource["Properties"] for resource in template["Resources"].values()]
    for each in (*properties, template["Globals"]["Function"]):
        each.update({name: "s3://uploaded/it" for name in _LOCAL if name in each})
    parameters = {
        name: str(each.get("Default", f"the value of {name}")) for name, each in template["Parameters"].items()
    }
    transformed = Translator({}, Parser()).translate(template, parameters)
    print(json.dumps(transformed))


main()
