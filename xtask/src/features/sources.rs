//! The names of the tests in the workspace's sources, without building them: the modules are followed from each
//! target's first file, and a test is a function with an attribute `#[test]` or `#[...::test]`, in what is handed to a macro (`proptest!`) too.
//! A test of a package's library, or of its only binary, is named `package::module::test`; one of an integration test
//! or of a binary beside a library is named `package::target$module::test`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, anyhow, bail};
use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};

use crate::workspace::{Metadata, Package, Target};

/// The names of all tests that would run; those with `#[ignore]` do not.
///
/// # Errors
/// When a source file is missing or is no Rust.
pub(crate) fn tests(metadata: &Metadata) -> anyhow::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for package in &metadata.packages {
        for target in &package.targets {
            let Some(prefix) = prefix(package, target) else { continue };
            let directory = target.src_path.parent().context("a source file is in a directory")?;
            let mut scan = Scan { names: &mut names, path: prefix };
            scan.file(&target.src_path, directory)?;
        }
    }
    Ok(names)
}

/// What the names of a target's tests begin with; nothing for targets that are not tested.
fn prefix(package: &Package, target: &Target) -> Option<String> {
    let is = |target: &Target, kind: &str| target.kind.iter().any(|k| k == kind);
    let count = |kind| package.targets.iter().filter(|target| is(target, kind)).count();
    let (name, binary) = (&package.name, &target.name);
    if is(target, "lib") || (is(target, "bin") && count("lib") == 0 && count("bin") == 1) {
        return Some(format!("{name}::"));
    }
    (is(target, "test") || is(target, "bin")).then(|| format!("{name}::{binary}$"))
}

/// A walk through the modules of a target.
struct Scan<'a> {
    names: &'a mut BTreeSet<String>,
    /// What the names in the present module begin with.
    path: String,
}

impl Scan<'_> {
    /// Reads a file whose modules are in `directory`.
    fn file(&mut self, file: &Path, directory: &Path) -> anyhow::Result<()> {
        let text = fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        let tokens = TokenStream::from_str(&text).map_err(|error| anyhow!("{}: {error}", file.display()))?;
        self.items(tokens, file, directory)
    }

    fn items(&mut self, tokens: TokenStream, file: &Path, directory: &Path) -> anyhow::Result<()> {
        let mut attributes: Vec<Group> = Vec::new();
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            match (token, tokens.peek()) {
                (TokenTree::Punct(hash), Some(TokenTree::Group(attribute))) if hash.as_char() == '#' => {
                    attributes.push(attribute.clone());
                    tokens.next();
                }
                (TokenTree::Ident(keyword), Some(TokenTree::Ident(name))) if keyword == "fn" => {
                    if attributes.iter().any(is_test) && !attributes.iter().any(|a| first_word(a) == "ignore") {
                        self.names.insert(format!("{}{name}", self.path));
                    }
                    attributes.clear();
                }
                (TokenTree::Ident(keyword), Some(TokenTree::Ident(name))) if keyword == "mod" => {
                    let name = name.clone();
                    tokens.next();
                    let body = match tokens.next() {
                        Some(TokenTree::Group(body)) => Some(body.stream()),
                        _ => None,
                    };
                    self.module(&name, body, &attributes, (file, directory))?;
                    attributes.clear();
                }
                (TokenTree::Ident(name), Some(TokenTree::Punct(bang)))
                    if name != "macro_rules" && bang.as_char() == '!' =>
                {
                    tokens.next();
                    if let Some(TokenTree::Group(body)) = tokens.next() {
                        self.items(body.stream(), file, directory)?;
                    }
                }
                (TokenTree::Group(group), _) if group.delimiter() == Delimiter::Brace => attributes.clear(),
                (TokenTree::Punct(end), _) if end.as_char() == ';' => attributes.clear(),
                _ => {}
            }
        }
        Ok(())
    }

    fn module(
        &mut self,
        name: &Ident,
        body: Option<TokenStream>,
        attributes: &[Group],
        (file, directory): (&Path, &Path),
    ) -> anyhow::Result<()> {
        let outer = self.path.len();
        self.path.push_str(&format!("{name}::"));
        let inner = directory.join(name.to_string());
        match body {
            Some(body) => self.items(body, file, &inner)?,
            None => match named_file(attributes) {
                Some(named) => {
                    let file = file.with_file_name(named);
                    let directory = file.parent().unwrap_or(directory).to_owned();
                    self.file(&file, &directory)?;
                }
                None => self.file(&module_file(&inner)?, &inner)?,
            },
        }
        self.path.truncate(outer);
        Ok(())
    }
}

fn module_file(inner: &Path) -> anyhow::Result<PathBuf> {
    let candidates = [inner.with_extension("rs"), inner.join("mod.rs")];
    match candidates.into_iter().find(|file| file.is_file()) {
        Some(file) => Ok(file),
        None => bail!("there is no file for the module {}", inner.display()),
    }
}

/// True for `#[test]` and for whatever path ends so, such as `#[tokio::test(start_paused = true)]`.
fn is_test(attribute: &Group) -> bool {
    let tokens = attribute.stream().into_iter();
    let path = tokens.take_while(|token| match token {
        TokenTree::Ident(_) => true,
        TokenTree::Punct(punct) => punct.as_char() == ':',
        _ => false,
    });
    path.last().is_some_and(|token| matches!(token, TokenTree::Ident(name) if name == "test"))
}

fn first_word(attribute: &Group) -> String {
    attribute.stream().into_iter().next().map(|token| token.to_string()).unwrap_or_default()
}

/// The file named by an attribute `#[path = "..."]`.
fn named_file(attributes: &[Group]) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| first_word(attribute) == "path")?;
    let text = attribute.stream().into_iter().nth(2)?.to_string();
    Some(text.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> Vec<String> {
        let mut names = BTreeSet::new();
        let mut scan = Scan { names: &mut names, path: "p::".to_owned() };
        scan.items(text.parse().unwrap(), Path::new("lib.rs"), Path::new(".")).unwrap();
        names.into_iter().collect()
    }

    #[test]
    fn functions_with_a_test_attribute_are_tests_and_no_others() {
        let text = r##"
            //! #[test] fn in_a_comment() {}
            #![forbid(unsafe_code)]
            #[test] fn plain() { #[test] fn within_another() {} }
            #[tokio::test(flavor = "current_thread", start_paused = true)]
            #[should_panic(expected = "x")]
            pub(crate) async fn with_attributes<'a>() {}
            #[test] #[ignore = "slow"] fn ignored() {}
            #[cfg(test)] fn not_one() {}
            #[test_log] fn nor_this() {}
            #[test] const NOT_A_FUNCTION: u8 = 0;
            fn helper() { let text = r#"#[test] fn in_a_string() {}"#; }
            impl X { #[test] fn in_an_impl() {} }
            proptest! { #![proptest_config(c())] #[test] fn property(x in 0..3) {} fn no_property() {} }
            mod outer { mod inner { #[test] fn deep() {} } #[test] fn shallow() {} }
        "##;
        assert_eq!(
            scan(text),
            ["p::outer::inner::deep", "p::outer::shallow", "p::plain", "p::property", "p::with_attributes"]
        );
    }

    #[test]
    fn modules_are_followed_into_their_files() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = root.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        write(
            "lib.rs",
            "mod a; mod b; #[cfg(test)] mod tests; mod inline { mod file; } #[path = \"x/y.rs\"] mod elsewhere;",
        );
        write("a.rs", "mod deep;");
        write("a/deep.rs", "#[cfg(test)] mod tests { #[test] fn one() {} }");
        write("b/mod.rs", "#[test] fn two() {}");
        write("tests.rs", "#[test] fn three() {}");
        write("inline/file.rs", "#[test] fn four() {}");
        write("x/y.rs", "#[test] fn five() {}");
        let mut names = BTreeSet::new();
        Scan { names: &mut names, path: String::new() }.file(&root.path().join("lib.rs"), root.path()).unwrap();
        let expected = ["a::deep::tests::one", "b::two", "elsewhere::five", "inline::file::four", "tests::three"];
        assert_eq!(names.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_module_without_a_file_is_an_error() {
        let mut names = BTreeSet::new();
        let mut scan = Scan { names: &mut names, path: String::new() };
        let error = scan.items("mod nowhere;".parse().unwrap(), Path::new("lib.rs"), Path::new("/nonexistent"));
        assert!(error.unwrap_err().to_string().contains("/nonexistent/nowhere"));
    }

    #[test]
    fn names_begin_with_the_package_and_with_what_is_beside_its_library() {
        let target = |name: &str, kind: &str| Target {
            name: name.to_owned(),
            kind: vec![kind.to_owned()],
            src_path: PathBuf::new(),
        };
        let names = |targets: Vec<Target>| {
            let package = Package { name: "p".to_owned(), dependencies: vec![], targets };
            package.targets.iter().map(|target| prefix(&package, target)).collect::<Vec<_>>()
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            names(vec![target("p", "lib"), target("app", "bin"), target("e2e", "test"), target("x", "example")]),
            [some("p::"), some("p::app$"), some("p::e2e$"), None]
        );
        assert_eq!(names(vec![target("p", "bin")]), [some("p::")]);
    }
}
