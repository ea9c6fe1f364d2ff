//! Tests of the tree and its bounds.

use super::*;

fn value(text: &str) -> Value<'_> {
    parse(text, 1).unwrap().value
}

fn refused(text: &str) -> (u32, String) {
    let fault = parse(text, 1).unwrap_err();
    (fault.line, fault.message)
}

fn strings(node: &Node<'_>) -> String {
    match &node.value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Text(text) => format!("{text:?}"),
        Value::List(items) => format!("[{}]", items.iter().map(strings).collect::<Vec<_>>().join(",")),
        Value::Map(entries) => {
            let entries: Vec<String> = entries.iter().map(|(key, node)| format!("{key}:{}", strings(node))).collect();
            format!("{{{}}}", entries.join(","))
        }
    }
}

#[test]
fn yaml_means_what_it_means_to_kubernetes() {
    for (text, expected) in [
        ("", "null"),
        ("--- # nothing", "null"),
        ("a: 1\nb: [x, 'y', \"z\\u0041\"]", r#"{a:1,b:["x","y","zA"]}"#),
        ("a: yes\nb: 'yes'\nc:\nd: ~", r#"{a:true,b:"yes",c:null,d:null}"#),
        ("a: |\n  x\n  y\nb: >-\n  x\n  y", r#"{a:"x\ny\n",b:"x y"}"#),
        ("1: a\ntrue: b", r#"{1:"a",true:"b"}"#),
        ("a: !!str 1\nb: !!int \"2\"\nc: ! 3", r#"{a:"1",b:2,c:"3"}"#),
        ("a: &x {k: 1}\nb: *x", "{a:{k:1},b:{k:1}}"),
        ("a: &x {k: 1, l: 2}\nb:\n  <<: *x\n  l: 3", "{a:{k:1,l:2},b:{l:3,k:1}}"),
        ("b: {<<: [{k: 1}, {k: 2, m: 3}]}", "{b:{k:1,m:3}}"),
        ("{\"a\": [1, 2.5, -3, true, null, \"\\ud83d\\ude00\"]}", r#"{a:[1,2.5,-3,true,null,"😀"]}"#),
        ("%YAML 1.1\n---\na: 1", "{a:1}"),
    ] {
        assert_eq!(strings(&parse(text, 1).unwrap()), expected, "{text}");
    }
}

#[test]
fn what_is_refused_says_where() {
    for (text, line) in [
        ("a: [1", 1),
        ("a: 1\nb: {c: 2\n", 2),
        ("a: 1\na: 2", 2),
        ("a: 1\nb:\n  c: 1\n  d: 1\n  c: 2", 5),
        ("a: !!binary aGVsbG8=", 1),
        ("a: 1\nb: !secret x", 2),
        ("a: !!set {b}", 1),
        ("? [a]\n: b", 1),
        ("a: *missing", 1),
        ("a: &x [*x]", 1),
        ("<<: 1", 1),
        ("a: \"\0\"", 1),
        ("a:\n\t- b", 2),
        ("\"a\": \"b", 1),
    ] {
        let (found, message) = refused(text);
        assert!(found >= line && !message.is_empty(), "{text:?}: line {found}, {message}");
        assert!(found <= line + 1, "{text:?}: line {found}, {message}");
    }
    assert_eq!(parse("a: [1", 40).unwrap_err().line, 40);
}

#[test]
fn nesting_is_bounded_however_it_is_written() {
    let flow = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let block: String = (0..200).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let aliases: String = (0..20).map(|i| format!("k{i}: &a{i} [[[[[[[[*a{}]]]]]]]]\n", i - 1)).collect::<String>();
    let aliases = aliases.replace("k0: &a0 [[[[[[[[*a-1", "k0: &a0 [[[[[[[[1");
    for text in [flow, block, "- ".repeat(200), "{a: ".repeat(200) + &"}".repeat(200), aliases] {
        let (_, message) = refused(&text);
        assert!(message.contains("nest") || message.contains("limit") || message.contains("depth"), "{message}");
    }
    let deep = format!("{}1{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
    assert!(matches!(value(&deep), Value::List(_)));
}

#[test]
fn copies_are_bounded() {
    let bomb: String =
        (1..10).map(|i| format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 9].join(", "))).collect();
    let (_, message) = refused(&format!("a0: &a0 [x, x, x, x, x, x, x, x, x]\n{bomb}"));
    assert!(message.contains("copy too much"), "{message}");
    let long = format!("a: &a {}\nb: [{}]", "x".repeat(1 << 20), vec!["*a"; 200].join(", "));
    assert!(refused(&long).1.contains("copy too much"));
}

#[test]
fn comments_mean_nothing_however_many_there_are() {
    let many = "# comment\n".repeat(10_000);
    let text = format!("{many}a:\n{many}- 1 # one\n{many}- b: 2\n{many}  c: 3\n{many}");
    let without = "a:\n- 1\n- b: 2\n  c: 3\n";
    assert_eq!(strings(&parse(&text, 1).unwrap()), strings(&parse(without, 1).unwrap()));
}
