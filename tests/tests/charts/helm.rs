//! Helm as the tests ask it: its own SDK for Python (PyPI `helm-python-sdk`), Kubernetes' schemas (`kubernetes-validate`) and
//! an implementation of CEL (`cel-python`).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ambit_tests::python;
use serde_json::{Value, json};

/// The driver.
const DRIVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/charts/helm.py");

/// The directory of the chart `name`.
pub(crate) fn chart(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts").join(name)
}

/// What Helm answers to `request`, or why it refuses.
pub(crate) fn ask(request: &Value) -> Result<Value, String> {
    let packages = ["helm-python-sdk==0.2.2", "kubernetes-validate==1.37.0", "cel-python==0.5.0"];
    let python = python::ensure_installed("helm", &packages).unwrap();
    let mut command = Command::new(python);
    command.arg(DRIVER).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(request.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{request}: {said}"));
    match answer["error"].as_str() {
        Some(error) => Err(error.to_owned()),
        None => Ok(answer["answer"].take()),
    }
}

/// What `chart` becomes with `values`: the templates' texts in order of their names, notes left out.
pub(crate) fn rendered(chart_name: &str, values: &Value) -> Result<String, String> {
    let answer = ask(&json!({"do": "template", "chart": chart(chart_name), "values": values}))?;
    let templates = answer.as_object().unwrap();
    let mut named: Vec<_> = templates.iter().filter(|(name, _)| name.ends_with(".yaml")).collect();
    named.sort_by_key(|(name, _)| *name);
    let texts = named.into_iter().map(|(_, text)| text.as_str().unwrap().trim()).filter(|text| !text.is_empty());
    Ok(texts.map(|text| format!("---\n{}\n", text.trim_start_matches("---\n"))).collect())
}

/// The objects that `chart` becomes with `values`.
pub(crate) fn objects(chart_name: &str, values: &Value) -> Vec<Value> {
    let documents = rendered(chart_name, values).unwrap();
    ask(&json!({"do": "parse", "documents": documents})).unwrap().as_array().unwrap().clone()
}
