//! Istio's Gateways (Istio's `TestValidateGateway`, `TestValidateServer`, `TestValidateServerPort`, `TestValidateTlsOptions`).

use super::*;

fn check_all(rows: Vec<(&str, Value, Becomes)>) {
    check(Kind::IstioGateway, rows);
}

/// A Gateway with these servers.
fn servers(servers: &Value) -> Value {
    of(json!({"selector": {"istio": "ingress"}, "servers": servers}))
}

/// One whose server lets in `foo.bar.com` at 7 by HTTP, with this instead.
fn server(more: Value) -> Value {
    let mut whole = json!({"hosts": ["foo.bar.com"], "port": port(7, "name1", "http")});
    whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    servers(&json!([whole]))
}

fn port(number: i64, name: &str, protocol: &str) -> Value {
    json!({"number": number, "name": name, "protocol": protocol})
}

/// One whose server has this `tls` beside `protocol`.
fn with_tls(protocol: &str, tls: &Value) -> Value {
    server(json!({"port": port(443, "name1", protocol), "tls": tls}))
}

#[test]
fn servers_and_what_tells_them_apart() {
    let two = |names: [&str; 2], ports: [&str; 2]| {
        let one = |place: usize, number| {
            let host = format!("{place}.bar.com");
            json!({"hosts": [host], "port": port(number, ports[place], "http"), "name": names[place]})
        };
        servers(&json!([one(0, 80), one(1, 8080)]))
    };
    let mut dotted = server(json!({}));
    dotted["metadata"]["name"] = json!("a.b");
    let selecting = |selector: Value| {
        of(json!({"selector": selector, "servers": [{"hosts": ["*"], "port": port(80, "http", "HTTP")}]}))
    };
    check_all(vec![
        ("empty", of(json!({})), Refused("spec.servers: is missing")),
        ("happy domain", server(json!({})), Accepted),
        ("happy multiple servers", two(["a", "b"], ["a", "b"]), Accepted),
        (
            "duplicate port names",
            two(["", ""], ["foo", "foo"]),
            Refused("spec.servers[1].port.name: \"foo\" names another"),
        ),
        (
            "server names that are not unique only have the same prefix in statistics",
            two(["foo", "foo"], ["a", "b"]),
            Warned("spec.servers[1].name: \"foo\" names another"),
        ),
        ("invalid gateway name", dotted, Refused("metadata.name: ")),
        ("a field that there is not", server(json!({"host": "a"})), Refused("spec.servers[0].host: is no field")),
        (
            "defaultEndpoint is not implemented",
            server(json!({"defaultEndpoint": "127.0.0.1:80"})),
            Warned("spec.servers[0].defaultEndpoint: has no effect"),
        ),
        ("no selector", selecting(json!({})), Accepted),
        ("a selector of several labels", selecting(json!({"app": "a", "istio.io/gateway-name": ""})), Accepted),
        (
            "a comment that has become part of the value",
            selecting(json!({"istio": "ingressgateway use istio default controller"})),
            Refused("spec.selector[istio]: "),
        ),
        ("a label that is none", selecting(json!({"a b": "c"})), Refused("spec.selector[a b]: ")),
    ]);
}

#[test]
fn hosts() {
    let hosts = |hosts: Value| server(json!({ "hosts": hosts }));
    let first = "spec.servers[0].hosts[0]: ";
    let mut rows = vec![
        ("empty", hosts(json!([])), Refused("spec.servers[0].hosts: is missing")),
        ("a host twice", hosts(json!(["a.b", "*/A.b"])), Warned("spec.servers[0].hosts[1]: a.b stands in the list")),
        ("a host of two namespaces", hosts(json!(["a/a.b", "b/a.b", "./a.b"])), Accepted),
    ];
    for (name, host, becomes) in [
        ("happy ip", "1.1.1.1", Accepted),
        ("happy ip", "fd00::1", Accepted),
        ("happy ns/name", "ns1/foo.bar.com", Accepted),
        ("happy */name", "*/foo.bar.com", Accepted),
        ("happy ./name", "./foo.bar.com", Accepted),
        ("every one", "*", Accepted),
        ("every one of a namespace", "ns1/*", Accepted),
        ("a wildcard", "*.bar.com", Accepted),
        ("invalid ~/name", "~/foo.bar.com", Refused(first)),
        ("invalid domain ns/name format", "ns1/foo.*.bar.com", Refused(first)),
        ("invalid domain", "foo.*.bar.com", Refused(first)),
        ("invalid partial wildcard", "*bar.com", Refused(first)),
        ("invalid short name host", "foo", Refused(first)),
        ("invalid short name host", "ns1/foo", Refused(first)),
        ("empty host", "ns1/", Refused(first)),
        ("empty namespace", "/a.b", Refused(first)),
        ("a port", "a.b:80", Refused(first)),
    ] {
        rows.push((name, hosts(json!([host])), becomes));
    }
    check_all(rows);
}

#[test]
fn ports_and_binds() {
    let path = |field: &str| -> &'static str { format!("spec.servers[0].{field}: ").leak() };
    let with = |port: Value| server(json!({ "port": port }));
    let bound = |bind: &str, number: i64| server(json!({"bind": bind, "port": port(number, "http", "http")}));
    let mut rows = vec![
        ("port is required", with(Value::Null), Refused(path("port"))),
        ("invalid port", with(port(66000, "http", "http")), Refused(path("port.number"))),
        ("name, no number", with(port(0, "Henry", "http")), Refused(path("port.number"))),
        ("happy", with(port(1, "Henry", "http")), Accepted),
        ("empty", with(port(1, "", "http")), Refused(path("port.name"))),
        ("empty", with(port(1, "Henry", "")), Refused(path("port.protocol"))),
        ("invalid protocol", with(port(1, "Henry", "kafka")), Refused(path("port.protocol"))),
        ("what is no TCP", with(port(1, "Henry", "UDP")), Refused(path("port.protocol"))),
        (
            "targetPort has no impact on Gateways",
            with(json!({"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 8080})),
            Refused(path("port.targetPort")),
        ),
        ("bind ip", bound("127.0.0.1", 7), Accepted),
        ("bind all", bound("0.0.0.0", 7), Accepted),
        ("bind bad ip", bound("foo.bar", 7), Refused(path("bind"))),
        ("bind unix path with invalid port", bound("unix://@foobar", 7), Refused(path("port.number"))),
        ("bind unix path", bound("unix://@foobar", 0), Warned(path("bind"))),
        ("name, no number, uds", bound("uds:///tmp", 80), Refused(path("bind"))),
    ];
    for protocol in ["HTTP", "http2", "Grpc", "gRPC-Web", "TCP", "Mongo", "MySQL", "redis"] {
        rows.push(("protocols are of any case", with(port(1, "a", protocol)), Accepted));
    }
    check_all(rows);
}

#[test]
fn tls_and_what_is_spoken() {
    let path = "spec.servers[0].tls: ";
    let secret = json!({"mode": "SIMPLE", "credentialName": "sds-name"});
    check_all(vec![
        ("no tls on HTTPS", server(json!({"port": port(1, "https", "https")})), Refused(path)),
        ("no tls on TLS", server(json!({"port": port(1, "tls", "tls")})), Refused(path)),
        ("tls on HTTP", with_tls("http", &secret), Refused(path)),
        ("files on HTTP", with_tls("http", &json!({"privateKey": "/k"})), Refused(path)),
        ("a mode that there is not, on HTTP", with_tls("http", &json!({"mode": "SIMPEL"})), Refused(path)),
        ("tls on TCP", with_tls("tcp", &json!({"mode": "PASSTHROUGH"})), Refused(path)),
        ("valid httpsRedirect", with_tls("http", &json!({"httpsRedirect": true})), Accepted),
        ("httpsRedirect that says no", with_tls("grpc", &json!({"httpsRedirect": false})), Accepted),
        ("more than httpsRedirect", with_tls("http", &json!({"credentialName": "a"})), Warned(path)),
        (
            "invalid https httpsRedirect",
            with_tls("https", &json!({"httpsRedirect": true})),
            Warned("spec.servers[0].tls.httpsRedirect: "),
        ),
        ("https", with_tls("HTTPS", &secret), Accepted),
        ("tls", with_tls("Tls", &secret), Accepted),
        ("no such mode", with_tls("tls", &json!({"mode": "SIMPEL"})), Refused("spec.servers[0].tls.mode: \"SIMPEL\"")),
        (
            "no such field",
            with_tls("tls", &json!({"mode": "PASSTHROUGH", "sni": "a"})),
            Refused("spec.servers[0].tls.sni: is no field"),
        ),
        (
            "auto passthrough",
            with_tls("tls", &json!({"mode": "AUTO_PASSTHROUGH"})),
            Warned("spec.servers[0].tls.mode: AUTO_PASSTHROUGH is not in effect"),
        ),
        (
            "pass through sds no certs",
            with_tls("tls", &json!({"mode": "PASSTHROUGH", "credentialName": "sds-name"})),
            Warned("spec.servers[0].tls.mode: is PASSTHROUGH"),
        ),
        ("pass through sds crl", with_tls("tls", &json!({"caCrl": "scrl"})), Warned("spec.servers[0].tls.mode: ")),
        ("pass through", with_tls("tls", &json!({})), Accepted),
    ]);
}

#[test]
fn certificates() {
    let tls = |tls: Value| with_tls("https", &tls);
    let simple = |more: Value| {
        let mut whole = json!({"mode": "SIMPLE"});
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        tls(whole)
    };
    let path = |field: &str| -> &'static str { format!("spec.servers[0].tls{field}: ").leak() };
    let pair = json!({"serverCertificate": "/c", "privateKey": "/k"});
    let lone = json!({"privateKey": "/k"});
    let one_of = Refused(path(""));
    check_all(vec![
        ("simple", simple(pair.clone()), Accepted),
        ("simple sds", simple(json!({"credentialName": "sds-name"})), Accepted),
        ("with CredentialNames", simple(json!({"credentialNames": ["credential1", "credential2"]})), Accepted),
        ("only tls certificates", simple(json!({"tlsCertificates": [pair]})), Accepted),
        ("a Secret, called one", simple(json!({"credentialName": "kubernetes://sds-name"})), Accepted),
        ("a Secret of a namespace", simple(json!({"credentialName": "kubernetes://edge/sds-name"})), Accepted),
        ("a Secret of no namespace", simple(json!({"credentialName": "/a"})), Refused(path(".credentialName"))),
        ("more than two", simple(json!({"credentialNames": ["a", "b", "c"]})), Refused(path(".credentialNames"))),
        (
            "a Secret of another kind",
            simple(json!({"credentialName": "configmap://a/b"})),
            Refused(path(".credentialName")),
        ),
        ("no name of a Secret", simple(json!({"credentialNames": ["a", "A_"]})), Refused(path(".credentialNames[1]"))),
        (
            "simple sds with client bundle but with server cert",
            simple(json!({"serverCertificate": "/c", "privateKey": "/k", "credentialName": "sds-name"})),
            one_of,
        ),
        (
            "credential names and certificates",
            simple(json!({"serverCertificate": "/c", "privateKey": "/k", "credentialNames": ["a"]})),
            one_of,
        ),
        (
            "simple with both server cert and tls certs",
            simple(json!({"serverCertificate": "/c", "privateKey": "/k", "tlsCertificates": [pair, pair]})),
            one_of,
        ),
        (
            "credential names and tls certificates",
            simple(json!({"tlsCertificates": [pair], "credentialNames": ["a"]})),
            one_of,
        ),
        ("one and several", simple(json!({"credentialName": "a", "credentialNames": ["b"]})), one_of),
        ("simple no server cert", simple(lone.clone()), Refused(path(".serverCertificate"))),
        ("simple no private key", simple(json!({"serverCertificate": "/c"})), Refused(path(".privateKey"))),
        (
            "simple sds no server cert",
            simple(json!({"credentialName": "a", "privateKey": "/k"})),
            Warned(path(".privateKey")),
        ),
        (
            "simple sds no private key",
            simple(json!({"credentialName": "a", "serverCertificate": "/c"})),
            Warned(path(".serverCertificate")),
        ),
        (
            "simple more than 2 certs",
            simple(json!({"tlsCertificates": [pair, pair, pair]})),
            Warned(path(".tlsCertificates")),
        ),
        (
            "simple 2 certs with missing certificate",
            simple(json!({"tlsCertificates": [lone, pair]})),
            Refused(path(".tlsCertificates[0].serverCertificate")),
        ),
        (
            "simple 2 certs with missing private key",
            simple(json!({"tlsCertificates": [pair, {"serverCertificate": "/c"}]})),
            Refused(path(".tlsCertificates[1].privateKey")),
        ),
        (
            "clients' authorities of one certificate",
            simple(
                json!({"tlsCertificates": [{"serverCertificate": "/c", "privateKey": "/k", "caCertificates": "/a"}]}),
            ),
            Warned(path(".tlsCertificates[0].caCertificates")),
        ),
        ("istio_mutual no certs", tls(json!({"mode": "ISTIO_MUTUAL"})), Accepted),
        (
            "istio_mutual with server cert",
            tls(json!({"mode": "ISTIO_MUTUAL", "serverCertificate": "/c"})),
            Refused(path(".serverCertificate")),
        ),
        (
            "istio_mutual with private key",
            tls(json!({"mode": "ISTIO_MUTUAL", "privateKey": "/k"})),
            Refused(path(".privateKey")),
        ),
        (
            "istio_mutual with client bundle",
            tls(json!({"mode": "ISTIO_MUTUAL", "caCertificates": "/a"})),
            Refused(path(".caCertificates")),
        ),
        (
            "istio_mutual with credential name",
            tls(json!({"mode": "ISTIO_MUTUAL", "credentialName": "a"})),
            Refused(path(".credentialName")),
        ),
        (
            "istio_mutual with credential names",
            tls(json!({"mode": "ISTIO_MUTUAL", "credentialNames": ["a"]})),
            Refused(path(".credentialNames")),
        ),
        (
            "istio_mutual with tls certificates",
            tls(json!({"mode": "ISTIO_MUTUAL", "tlsCertificates": [pair]})),
            Refused(path(".tlsCertificates")),
        ),
        (
            "istio_mutual with revocation lists",
            tls(json!({"mode": "ISTIO_MUTUAL", "caCrl": "/crl"})),
            Refused(path(".caCrl")),
        ),
        (
            "istio_mutual with an old version",
            tls(json!({"mode": "ISTIO_MUTUAL", "maxProtocolVersion": "TLSV1_2"})),
            Refused(path(".maxProtocolVersion")),
        ),
        (
            "istio_mutual with another's authorities",
            tls(json!({"mode": "ISTIO_MUTUAL", "caCertCredentialName": "a"})),
            Warned(path(".caCertCredentialName")),
        ),
    ]);
}

#[test]
fn clients() {
    let path = |field: &str| -> &'static str { format!("spec.servers[0].tls{field}: ").leak() };
    let tls = |mode: &str, more: Value| {
        let mut whole = json!({ "mode": mode });
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        with_tls("https", &whole)
    };
    let by_secret =
        |mode: &str, field: &str, value: Value| tls(mode, json!({"credentialName": "sds-name", field: value}));
    let by_files = |field: &str, value: Value| {
        let files = json!({"serverCertificate": "/c", "privateKey": "/k", "caCertificates": "/a"});
        let mut files = files.as_object().unwrap().clone();
        files.insert(field.to_owned(), value);
        tls("MUTUAL", Value::Object(files))
    };
    let (base64, hex) = (format!("{}=", "A".repeat(43)), "0aF".repeat(21) + "0");
    let colons: String = (0..32).map(|place| if place == 0 { "0a" } else { ":bC" }).collect();
    let mut rows = vec![
        ("mutual", by_files("caCertificates", json!("/a")), Accepted),
        ("mutual no client CA bundle", by_files("caCertificates", json!("")), Refused(path(".caCertificates"))),
        ("mutual with a crl", by_files("caCrl", json!("/crl")), Accepted),
        ("no effect on files", by_files("caCertCredentialName", json!("a")), Warned(path(".caCertCredentialName"))),
        (
            "mutual 2 certs with missing CA certificate",
            tls("MUTUAL", json!({"tlsCertificates": [{"serverCertificate": "/c", "privateKey": "/k"}]})),
            Refused(path(".caCertificates")),
        ),
        (
            "crl specified for SIMPLE TLS",
            tls("SIMPLE", json!({"serverCertificate": "/c", "privateKey": "/k", "caCrl": "crl"})),
            Refused(path(".caCrl")),
        ),
        (
            "simple with client bundle",
            tls("SIMPLE", json!({"serverCertificate": "/c", "privateKey": "/k", "caCertificates": "/a"})),
            Warned(path(".caCertificates")),
        ),
    ];
    for (name, mode, field, value, becomes) in [
        ("mutual sds", "MUTUAL", "name", json!(null), Accepted),
        ("optional mutual sds", "OPTIONAL_MUTUAL", "name", json!(null), Accepted),
        ("mutual sds with a file", "MUTUAL", "caCertificates", json!("/a"), Warned(path(".caCertificates"))),
        ("mutual sds with a crl", "MUTUAL", "caCrl", json!("crl"), Warned(path(".caCrl"))),
        ("crl specified for CredentialName", "SIMPLE", "caCrl", json!("crl"), Warned(path(".caCrl"))),
        ("authorities of another Secret", "MUTUAL", "caCertCredentialName", json!("a"), Accepted),
        (
            "authorities of a ConfigMap",
            "MUTUAL",
            "caCertCredentialName",
            json!("configmap://a/b"),
            Refused(path(".caCertCredentialName")),
        ),
        ("names", "OPTIONAL_MUTUAL", "subjectAltNames", json!(["spiffe://a/b"]), Accepted),
        ("names nobody asks for", "SIMPLE", "subjectAltNames", json!(["a"]), Warned(path(".subjectAltNames"))),
        (
            "a certificate that does not hold",
            "MUTUAL",
            "insecureSkipVerify",
            json!(true),
            Warned(path(".insecureSkipVerify")),
        ),
        ("one that does", "MUTUAL", "insecureSkipVerify", json!(false), Accepted),
        ("a key", "MUTUAL", "verifyCertificateSpki", json!([base64]), Accepted),
        (
            "a key too short",
            "MUTUAL",
            "verifyCertificateSpki",
            json!(["AAAA"]),
            Refused(path(".verifyCertificateSpki[0]")),
        ),
        (
            "no base64",
            "MUTUAL",
            "verifyCertificateSpki",
            json!([base64, "-"]),
            Refused(path(".verifyCertificateSpki[1]")),
        ),
        (
            "a key nobody asks for",
            "SIMPLE",
            "verifyCertificateSpki",
            json!(["-"]),
            Warned(path(".verifyCertificateSpki")),
        ),
        ("a certificate", "MUTUAL", "verifyCertificateHash", json!([hex, colons]), Accepted),
        (
            "a digit too many",
            "MUTUAL",
            "verifyCertificateHash",
            json!([format!("{hex}0")]),
            Refused(path(".verifyCertificateHash[0]")),
        ),
        (
            "a byte too few",
            "MUTUAL",
            "verifyCertificateHash",
            json!([hex, "00".repeat(31)]),
            Refused(path(".verifyCertificateHash[1]")),
        ),
        (
            "no digits",
            "MUTUAL",
            "verifyCertificateHash",
            json!(["xy".repeat(32)]),
            Refused(path(".verifyCertificateHash[0]")),
        ),
    ] {
        let object =
            if field == "name" { tls(mode, json!({"credentialName": "a"})) } else { by_secret(mode, field, value) };
        rows.push((name, object, becomes));
    }
    check_all(rows);
}

#[test]
fn versions_and_cipher_suites() {
    let path = |field: &str| -> &'static str { format!("spec.servers[0].tls.{field}: ").leak() };
    let (min, max, suites) = ("minProtocolVersion", "maxProtocolVersion", "cipherSuites");
    let ecdhe = "ECDHE-ECDSA-AES128-GCM-SHA256";
    let mut rows = Vec::new();
    for (name, more, becomes) in [
        ("both", json!({min: "TLSV1_2", max: "TLSV1_3"}), Accepted),
        ("one", json!({min: "TLSV1_3", max: "TLSV1_3"}), Accepted),
        ("whatever there is", json!({min: "TLS_AUTO", max: "TLS_AUTO"}), Accepted),
        ("what nobody should speak", json!({min: "TLSV1_0"}), Warned(path("minProtocolVersion"))),
        ("what nobody should speak", json!({min: "TLSV1_1"}), Warned(path("minProtocolVersion"))),
        ("what nobody should speak", json!({max: "TLSV1_1"}), Refused(path("maxProtocolVersion"))),
        ("no version", json!({min: "1.2"}), Refused(path("minProtocolVersion"))),
        ("no version", json!({max: "TLSV1_4"}), Refused(path("maxProtocolVersion"))),
        ("none between", json!({min: "TLSV1_3", max: "TLSV1_2"}), Refused(path("minProtocolVersion"))),
        ("valid cipher suites", json!({suites: [ecdhe]}), Accepted),
        ("a group", json!({suites: [format!("[{ecdhe}|ECDHE-RSA-AES128-GCM-SHA256]")]}), Accepted),
        ("duplicate cipher suites", json!({suites: [ecdhe, ecdhe]}), Warned(path("cipherSuites[1]"))),
        ("invalid cipher suites", json!({suites: ["not-a-cipher-suite"]}), Refused(path("cipherSuites"))),
        ("what is not spoken", json!({suites: ["AES128-SHA", ecdhe]}), Warned(path("cipherSuites[0]"))),
        (
            "cipher suites operations",
            json!({suites: [ecdhe, "-ECDHE-ECDSA-AES128-SHA"]}),
            Warned(path("cipherSuites[1]")),
        ),
        ("of TLS 1.3", json!({suites: ["TLS_AES_128_GCM_SHA256"]}), Warned(path("cipherSuites[0]"))),
        (
            "for a version that is not spoken",
            json!({min: "TLSV1_3", suites: ["AES128-SHA"]}),
            Warned(path("cipherSuites[0]")),
        ),
    ] {
        let mut tls = json!({"mode": "SIMPLE", "credentialName": "sds-name"});
        tls.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rows.push((name, with_tls("https", &tls), becomes));
    }
    check_all(rows);
}
