//! What the programs are made of, as SPDX 2.3 JSON: the crates that they link, with versions, licences and who needs whom, by
//! what cargo says. What cargo does not know (the C library, the sources that crates bring along) is not listed by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use ambit_tests::digest::sha256;
use anyhow::{Context, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::build::root;

/// Crates and their dependencies (`cargo metadata --format-version 1`).
#[derive(Debug, Deserialize)]
pub(super) struct Graph {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Debug, Deserialize)]
struct Kind {
    /// `dev`, `build`, or nothing for what is linked.
    kind: Option<String>,
}

impl Graph {
    /// Asks cargo, of what is built for `target`.
    ///
    /// # Errors
    /// When cargo cannot be run or refuses a manifest.
    pub(super) fn read(target: &str) -> anyhow::Result<Self> {
        let mut cargo = Command::new("cargo");
        cargo.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", target]).current_dir(root());
        let output = cargo.output().context("cargo cannot be run")?;
        ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).context("cargo metadata cannot be read")
    }

    /// What the `programs` of the image `name` link. The same crates make the same text.
    ///
    /// # Errors
    /// When a program is no package of the graph.
    pub(super) fn spdx(&self, name: &str, programs: &[&str]) -> anyhow::Result<String> {
        let mut linked = BTreeSet::new();
        for program in programs {
            let package = self.packages.iter().find(|package| package.name == *program);
            self.walk(&package.with_context(|| format!("cargo knows no package {program}"))?.id, &mut linked);
        }
        let packages: BTreeMap<&str, &Package> = self.packages.iter().map(|package| (&*package.id, package)).collect();
        let linked: BTreeMap<String, &Package> = linked
            .into_iter()
            .filter_map(|id| packages.get(id))
            .map(|package| (reference(package), *package))
            .collect();
        let image = json!({
            "SPDXID": "SPDXRef-image",
            "name": name,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": "NOASSERTION",
            "copyrightText": "NOASSERTION",
            "primaryPackagePurpose": "CONTAINER",
        });
        let described: Vec<_> =
            std::iter::once(image).chain(linked.values().map(|package| describe(package))).collect();
        let relations = self.relations(&packages, &linked, programs);
        // Whoever lists the same calls it the same.
        let digest = sha256(&serde_json::to_vec(&(&described, &relations))?);
        let document = json!({
            "spdxVersion": "SPDX-2.3",
            "dataLicense": "CC0-1.0",
            "SPDXID": "SPDXRef-DOCUMENT",
            "name": name,
            "documentNamespace": format!("{}/spdx/{digest}", env!("CARGO_PKG_REPOSITORY")),
            "creationInfo": {"created": "1970-01-01T00:00:00Z", "creators": ["Tool: cargo-xtask-image"]},
            "packages": described,
            "relationships": relations,
        });
        Ok(serde_json::to_string_pretty(&document)? + "\n")
    }

    /// Adds `id` to `linked`, with all that it links.
    fn walk<'a>(&'a self, id: &'a str, linked: &mut BTreeSet<&'a str>) {
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            if linked.insert(id) {
                open.extend(self.links(id));
            }
        }
    }

    /// What the package `id` links by itself.
    fn links<'a>(&'a self, id: &str) -> impl Iterator<Item = &'a str> {
        let node = self.resolve.nodes.iter().find(|node| node.id == id);
        let deps = node.map_or(&[][..], |node| &node.deps);
        deps.iter().filter(|dep| dep.dep_kinds.iter().any(|one| one.kind.is_none())).map(|dep| dep.pkg.as_str())
    }

    fn relations(
        &self,
        packages: &BTreeMap<&str, &Package>,
        linked: &BTreeMap<String, &Package>,
        programs: &[&str],
    ) -> Vec<Value> {
        let relation = |from: &str, kind: &str, to: &str| json!({"spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to});
        let mut relations = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-image")];
        for (from, package) in linked {
            if programs.contains(&package.name.as_str()) {
                relations.push(relation("SPDXRef-image", "CONTAINS", from));
            }
            let needed = self.links(&package.id).filter_map(|id| packages.get(id)).map(|package| reference(package));
            relations.extend(needed.collect::<BTreeSet<_>>().iter().map(|to| relation(from, "DEPENDS_ON", to)));
        }
        relations
    }
}

fn describe(package: &Package) -> Value {
    let Package { name, version, license, .. } = package;
    // An older way to write alternatives, which cargo still takes; and a licence whose later versions may be chosen in any
    // case (its section 10.2), which readers of SPDX do not know with a plus.
    let plain = |text: &str| text.replace('/', " OR ").replace("MPL-2.0+", "MPL-2.0");
    let license = license.as_deref().map_or_else(|| "NOASSERTION".to_owned(), plain);
    json!({
        "SPDXID": reference(package),
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": license,
        "copyrightText": "NOASSERTION",
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": format!("pkg:cargo/{name}@{version}"),
        }],
    })
}

/// The package's name within the document, of letters, digits, dots and hyphens alone.
fn reference(package: &Package) -> String {
    let plain = |text: &str| text.replace(|one: char| !one.is_ascii_alphanumeric() && one != '.', "-");
    format!("SPDXRef-{}-{}", plain(&package.name), plain(&package.version))
}

#[cfg(test)]
mod tests {
    use ambit_tests::python;

    use super::*;

    fn graph() -> Graph {
        let package = |name: &str, license: Option<&str>| json!({"id": name, "name": name, "version": "1.0.0+x_1", "license": license});
        let link = |name: &str, kind: Option<&str>| json!({"pkg": name, "dep_kinds": [{"kind": kind, "target": null}]});
        let deps = [link("linked", None), link("builds", Some("build")), link("tests", Some("dev"))];
        let value = json!({
            "packages": [
                package("program", Some("Apache-2.0")), package("linked", Some("MIT/Apache-2.0")), package("deep", None),
                package("builds", None), package("tests", None), package("other", None),
            ],
            "resolve": {"nodes": [
                {"id": "program", "deps": deps},
                {"id": "linked", "deps": [link("deep", None)]},
                {"id": "deep", "deps": [link("linked", None)]},
                {"id": "other", "deps": []},
            ]},
        });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_is_linked_is_listed_with_who_needs_it_and_nothing_else() {
        let text = graph().spdx("x/ambit:1", &["program"]).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        let names: Vec<_> =
            document["packages"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["x/ambit:1", "deep", "linked", "program"]);
        assert_eq!(document["packages"][2]["licenseDeclared"], "MIT OR Apache-2.0");
        assert_eq!(document["packages"][2]["externalRefs"][0]["referenceLocator"], "pkg:cargo/linked@1.0.0+x_1");
        let relations: Vec<_> = document["relationships"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| {
                let word =
                    |key: &str| one[key].as_str().unwrap().trim_start_matches("SPDXRef-").replace("-1.0.0-x-1", "");
                format!("{} {} {}", word("spdxElementId"), word("relationshipType"), word("relatedSpdxElement"))
            })
            .collect();
        assert_eq!(
            relations,
            [
                "DOCUMENT DESCRIBES image",
                "deep DEPENDS_ON linked",
                "linked DEPENDS_ON deep",
                "image CONTAINS program",
                "program DEPENDS_ON linked",
            ]
        );
        assert_eq!(text, graph().spdx("x/ambit:1", &["program"]).unwrap());
        assert!(graph().spdx("x/ambit:1", &["nobody"]).is_err());
    }

    #[test]
    fn of_the_workspace_every_program_links_the_model_and_none_the_tests_and_others_read_the_list() {
        let text = Graph::read(&super::super::target()).unwrap().spdx("x", &super::super::PROGRAMS).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        let packages = document["packages"].as_array().unwrap();
        let named = |name: &str| packages.iter().filter(|one| one["name"] == name).count();
        assert_eq!((named("ambit-model"), named("rustls"), named("ambit-tests"), named("proptest")), (1, 1, 0, 0));
        let unlicensed: Vec<_> =
            packages.iter().skip(1).filter(|one| one["licenseDeclared"] == "NOASSERTION").collect();
        assert!(unlicensed.is_empty(), "{unlicensed:?}");

        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("list.spdx.json");
        std::fs::write(&file, text).unwrap();
        let python = python::ensure_installed("spdx", &["spdx-tools==0.8.5"]).unwrap();
        let validator = python.with_file_name("pyspdxtools");
        python::run(Command::new(validator).arg("--infile").arg(&file)).unwrap();
    }
}
