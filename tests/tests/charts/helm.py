"""Helm, by its own SDK: takes one request as JSON on stdin and answers with JSON on stdout."""

import json
import sys

import helm_python as helm
import kubernetes_validate
import yaml

request = json.load(sys.stdin)
chart, values = request.get("chart"), request.get("values") or {}
namespace, name = "istio-system", request.get("name", "ambit")


def lint():
    return helm.lint(chart, values or None, strict=True, namespace=namespace)


def template():
    loaded = helm.Chart.load(chart)
    loaded.validate_schema(values)
    return loaded.render(values, name=name, namespace=namespace)


def validate():
    """What Kubernetes' own schemas say of each document, by kind; None where they do not know the kind."""
    answers = {}
    for document in filter(None, yaml.safe_load_all(request["documents"])):
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
    return [document for document in yaml.safe_load_all(request["documents"]) if document]


def config():
    return helm.Config(kubeconfig_path=request["kubeconfig"], namespace=namespace)


def install():
    return str(config().install(chart, name, values, namespace=namespace, create_namespace=True))


def uninstall():
    return str(config().uninstall(name))


try:
    answer = {"answer": globals()[request["do"]]()}
except helm.HelmError as error:
    answer = {"error": f"{type(error).__name__}: {error}"}
json.dump(answer, sys.stdout, default=str)
