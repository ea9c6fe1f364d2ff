"""Helm, by its own SDK, and rules of CEL: takes one request as JSON on stdin and answers with JSON on stdout."""

import functools
import json
import sys

import celpy
import helm_python as helm
import kubernetes_validate
import yaml

request = json.load(sys.stdin)
chart, values = request.get("chart"), request.get("values") or {}
namespace, name = "istio-system", request.get("name", "ambit")


def load():
    documents = yaml.load_all(request["documents"], Loader=yaml.CSafeLoader)
    return [document for document in documents if document]


def lint():
    return helm.lint(chart, values or None, strict=True, namespace=namespace)


def template():
    loaded = helm.Chart.load(chart)
    loaded.validate_schema(values)
    return loaded.render(values, name=name, namespace=namespace)


def validate():
    """What Kubernetes' own schemas say of each document, by kind; None where they do not know the kind."""
    answers = {}
    for document in load():
        try:
            kubernetes_validate.validate(document, request["version"], strict=True)
            answer = ""
        except kubernetes_validate.SchemaNotFoundError:
            answer = None
        except kubernetes_validate.ValidationError as error:
            answer = f"{list(error.path)}: {error.message}"
        answers[f"{document['kind']}/{document['metadata']['name']}"] = answer
    return answers


def parse():
    return load()


def config():
    return helm.Config(kubeconfig_path=request["kubeconfig"], namespace=namespace)


def install():
    return str(config().install(chart, name, values, namespace=namespace, create_namespace=True))


def uninstall():
    # As the command line waits for what is to be done before.
    return str(config().uninstall(name, timeout=300))


CEL = celpy.Environment()


@functools.cache
def program(rule):
    # One of Kubernetes' own functions, which the language does not have by itself.
    substring = {"substring": lambda text, begin, end: celpy.celtypes.StringType(text[begin:end])}
    return CEL.program(CEL.compile(rule), functions=substring)


def broken(schema, value, path):
    """What `value` breaks of the rules of `schema`, each with its path."""
    if value is None:
        return
    for rule in schema.get("x-kubernetes-validations", []):
        if not program(rule["rule"]).evaluate({"self": celpy.json_to_cel(value)}):
            yield f"{path}: {rule['message']}"
    if isinstance(value, list):
        for place, item in enumerate(value):
            yield from broken(schema.get("items", {}), item, f"{path}[{place}]")
    if isinstance(value, dict):
        for key, item in value.items():
            inner = schema.get("properties", {}).get(key) or schema.get("additionalProperties") or {}
            yield from broken(inner, item, f"{path}.{key}")


def rules():
    """What each of the objects in `documents` that is of a defined kind breaks."""
    schemas = {}
    for path in request["definitions"]:
        spec = yaml.load(open(path), Loader=yaml.CSafeLoader)["spec"]
        for version in spec["versions"]:
            schemas[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = version["schema"]["openAPIV3Schema"]
    found = []
    for document in load():
        schema = schemas.get((document["apiVersion"], document["kind"]))
        if schema:
            found.append(list(broken(schema["properties"]["spec"], document.get("spec"), "spec")))
    return found


try:
    answer = {"answer": globals()[request["do"]]()}
except helm.HelmError as error:
    answer = {"error": f"{type(error).__name__}: {error}"}
json.dump(answer, sys.stdout, default=str)
