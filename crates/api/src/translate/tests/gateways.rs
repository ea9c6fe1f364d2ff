//! Istio's Gateways: what is written and what it means.

use ambit_model::gateway::{
    Authorities, Certificate, CipherSuite, Clients, Gateway, Proof, Protocol, Server, Tls, TlsVersion,
};

use super::*;

fn gateway(spec: Value) -> Arc<Gateway> {
    let metadata = json!({"name": "front", "namespace": "shop", "creationTimestamp": "2024-01-01T00:00:00Z"});
    match read(Kind::IstioGateway, json!({"metadata": metadata, "spec": spec})).unwrap().resource {
        Resource::IstioGateway(gateway) => gateway,
        other => panic!("{other:?}"),
    }
}

/// The server that `server` is, at 443 where it says nothing else.
fn server(protocol: &str, more: &Value) -> Arc<Server> {
    let mut server = json!({"port": {"number": 443, "name": "one", "protocol": protocol}, "hosts": ["*"]});
    server.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    gateway(json!({"servers": [server]})).servers[0].clone()
}

fn tls(tls: &Value) -> Arc<Tls> {
    match &server("HTTPS", &json!({ "tls": tls })).protocol {
        Protocol::Https(tls) => tls.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_gateway_is_its_servers_in_order_and_for_whom_they_are() {
    let read = gateway(json!({
        "selector": {"istio": "ingress", "app": "a"},
        "servers": [
            {
                "port": {"number": 8080, "name": "http", "protocol": "HTTP2"},
                "hosts": ["*.Example.com", "./a.example", "*/b.example", "other/*", "10.0.0.1"],
                "name": "clear", "bind": "::ffff:10.0.0.7",
            },
            {"port": {"number": 443, "name": "none", "protocol": "TLS"}, "hosts": ["*"], "tls": {"mode": "AUTO_PASSTHROUGH"}},
            {"port": {"number": 0, "name": "socket", "protocol": "TCP"}, "hosts": ["*"], "bind": "unix:///run/x"},
            {"port": {"number": 27017, "name": "db", "protocol": "mongo"}, "hosts": ["*"], "bind": "::"},
        ],
    }));
    assert_eq!(
        (read.key.to_string(), read.created.as_deref()),
        ("shop/front".to_owned(), Some("2024-01-01T00:00:00Z"))
    );
    let selector: Vec<_> = read.selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(selector, ["app=a", "istio=ingress"]);
    let [clear, bytes] = &read.servers[..] else { panic!("{:?}", read.servers) };
    let hosts: Vec<_> = clear.hosts.iter().map(ToString::to_string).collect();
    assert_eq!(hosts, ["*.example.com", "shop/a.example", "b.example", "other/*", "10.0.0.1"]);
    assert_eq!((clear.name.as_deref(), &*clear.port_name, clear.port), (Some("clear"), "http", 8080));
    assert_eq!((clear.bind, bytes.bind), (Some("10.0.0.7".parse().unwrap()), None));
    assert_eq!((&clear.protocol, &bytes.protocol), (&Protocol::Http { redirect: false }, &Protocol::Tcp));
    assert_eq!((bytes.name.as_deref(), bytes.port), (None, 27017));
}

#[test]
fn what_is_spoken_is_what_the_protocol_and_the_mode_say() {
    let plain = json!({});
    let with = |tls: Value| json!({ "tls": tls });
    let (through, ended) = (with(json!({})), with(json!({"mode": "SIMPLE", "credentialName": "a"})));
    for (protocol, more, expected) in [
        ("HTTP", &plain, "Http { redirect: false }"),
        ("http_proxy", &plain, "Http { redirect: false }"),
        ("GRPC-Web", &with(json!({"httpsRedirect": true})), "Http { redirect: true }"),
        ("HTTP", &through, "Http { redirect: false }"),
        ("TCP", &plain, "Tcp"),
        ("HTTPS", &through, "Passthrough"),
        ("TLS", &through, "Passthrough"),
        ("TLS", &with(json!({"mode": "PASSTHROUGH", "httpsRedirect": true})), "Passthrough"),
        ("HTTPS", &ended, "Https("),
        ("tls", &ended, "Tls("),
    ] {
        let spoken = format!("{:?}", server(protocol, more).protocol);
        assert!(spoken.starts_with(expected), "{protocol} {more}: {spoken}");
    }
}

#[test]
fn certificates_are_of_secrets_of_files_or_the_meshs() {
    let secret = |name: &str| Certificate::Secret(Arc::from(name));
    let files = |certificate: &str, key: &str| Certificate::Files { certificate: certificate.into(), key: key.into() };
    for (written, expected) in [
        (json!({"credentialName": "a"}), vec![secret("a")]),
        (json!({"credentialName": "kubernetes://a"}), vec![secret("a")]),
        (json!({"credentialName": "kubernetes://edge/a"}), vec![secret("kubernetes://edge/a")]),
        (json!({"credentialName": "kubernetes-gateway://edge/a"}), vec![secret("kubernetes://edge/a")]),
        (json!({"credentialName": "edge/a"}), vec![secret("kubernetes://edge/a")]),
        (json!({"credentialNames": ["rsa", "ecdsa"]}), vec![secret("rsa"), secret("ecdsa")]),
        (json!({"serverCertificate": "/c", "privateKey": "/k"}), vec![files("/c", "/k")]),
        (
            json!({"tlsCertificates": [
                {"serverCertificate": "/c", "privateKey": "/k"}, {"serverCertificate": "/d", "privateKey": "/l"},
            ]}),
            vec![files("/c", "/k"), files("/d", "/l")],
        ),
        (json!({"mode": "ISTIO_MUTUAL"}), vec![Certificate::Mesh]),
    ] {
        let mut whole = json!({"mode": "SIMPLE"});
        whole.as_object_mut().unwrap().extend(written.as_object().unwrap().clone());
        assert_eq!(tls(&whole).certificates, expected, "{written}");
    }
}

#[test]
fn clients_are_anybody_or_whose_certificates_somebody_has_signed() {
    let proof =
        |authorities| Proof { authorities, revoked: None, subject_alt_names: vec![], spki: vec![], hashes: vec![] };
    let (own, other) = (Authorities::WithCertificate("a".into()), Authorities::Secret("b".into()));
    let file = Authorities::File("/a".into());
    let with_crl = Proof { revoked: Some("/crl".into()), ..proof(file.clone()) };
    for (written, expected) in [
        (json!({"mode": "SIMPLE", "credentialName": "a", "subjectAltNames": ["x"]}), Clients::Anybody),
        (json!({"mode": "MUTUAL", "credentialName": "a"}), Clients::Proven(proof(own.clone()))),
        (json!({"mode": "MUTUAL", "credentialName": "a", "caCertificates": "/a"}), Clients::Proven(proof(own.clone()))),
        (json!({"mode": "MUTUAL", "credentialName": "a", "caCrl": "/crl"}), Clients::Proven(proof(own.clone()))),
        (json!({"mode": "MUTUAL", "credentialNames": ["a", "c"]}), Clients::Proven(proof(own.clone()))),
        (json!({"mode": "MUTUAL", "credentialName": "a", "caCertCredentialName": "b"}), Clients::Proven(proof(other))),
        (json!({"mode": "OPTIONAL_MUTUAL", "credentialName": "a"}), Clients::Perhaps(proof(own))),
        (
            json!({"mode": "MUTUAL", "serverCertificate": "/c", "privateKey": "/k", "caCertificates": "/a",
                   "caCrl": "/crl", "caCertCredentialName": "b"}),
            Clients::Proven(with_crl),
        ),
        (json!({"mode": "ISTIO_MUTUAL"}), Clients::Proven(proof(Authorities::Mesh))),
    ] {
        assert_eq!(tls(&written).clients, expected, "{written}");
    }
}

#[test]
fn what_clients_certificates_are_held_against_is_decoded() {
    let bytes: Vec<u8> = (0..32).collect();
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    let written = json!({
        "mode": "MUTUAL", "credentialName": "a", "subjectAltNames": ["spiffe://a/b", "x.example"],
        "verifyCertificateSpki": ["AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="],
        "verifyCertificateHash": [hex.concat(), hex.join(":").to_lowercase()],
    });
    let Clients::Proven(proof) = &tls(&written).clients else { panic!("{written}") };
    assert_eq!(proof.subject_alt_names, ["spiffe://a/b", "x.example"].map(Arc::<str>::from));
    assert_eq!((proof.spki.len(), proof.hashes.len()), (1, 2));
    assert!(proof.spki.iter().chain(&proof.hashes).all(|hash| hash[..] == bytes[..]), "{proof:?}");
}

#[test]
fn versions_and_cipher_suites_are_those_that_can_be_spoken() {
    use CipherSuite::{EcdheEcdsaAes128Gcm as Ecdsa, EcdheRsaChaCha20 as Rsa};
    use TlsVersion::{V1_2, V1_3};
    for (written, versions, suites) in [
        (json!({}), (V1_2, V1_3), vec![]),
        (json!({"minProtocolVersion": "TLSV1_0", "maxProtocolVersion": "TLSV1_2"}), (V1_2, V1_2), vec![]),
        (json!({"minProtocolVersion": "TLSV1_3"}), (V1_3, V1_3), vec![]),
        (
            json!({"cipherSuites": ["ECDHE-RSA-CHACHA20-POLY1305", "AES128-SHA", "ECDHE-ECDSA-AES128-GCM-SHA256"]}),
            (V1_2, V1_3),
            vec![Rsa, Ecdsa],
        ),
        (
            json!({"cipherSuites": ["[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]"]}),
            (V1_2, V1_3),
            vec![Ecdsa, Rsa],
        ),
        (json!({"cipherSuites": ["TLS_AES_256_GCM_SHA384"]}), (V1_2, V1_3), vec![]),
    ] {
        let mut whole = json!({"mode": "SIMPLE", "credentialName": "a"});
        whole.as_object_mut().unwrap().extend(written.as_object().unwrap().clone());
        let tls = tls(&whole);
        assert_eq!(((tls.min, tls.max), &tls.cipher_suites), (versions, &suites), "{written}");
    }
}

#[test]
fn whatever_is_wrong_with_a_gateway_is_said_at_once() {
    let spec = json!({
        "selector": {"a": "b c"},
        "servers": [
            {"port": {"number": 0, "name": "", "protocol": "x"}, "hosts": ["a", "a b/c.d"], "bind": "x"},
            {"hosts": []},
            {
                "port": {"number": 443, "name": "a", "protocol": "HTTPS"}, "hosts": ["*"],
                "tls": {"mode": "MUTUAL", "minProtocolVersion": "1", "verifyCertificateSpki": ["-"]},
            },
        ],
    });
    let expected = [
        "spec.selector[a]",
        "spec.servers[0].hosts[0]",
        "spec.servers[0].hosts[1]",
        "spec.servers[0].bind",
        "spec.servers[0].port.name",
        "spec.servers[0].port.number",
        "spec.servers[0].port.protocol",
        "spec.servers[1].hosts",
        "spec.servers[1].port",
        "spec.servers[2].tls.minProtocolVersion",
        "spec.servers[2].tls.serverCertificate",
        "spec.servers[2].tls.privateKey",
        "spec.servers[2].tls.caCertificates",
        "spec.servers[2].tls.verifyCertificateSpki[0]",
    ];
    assert_eq!(wrong(Kind::IstioGateway, json!({"metadata": {"name": "front"}, "spec": spec})), expected);
}
