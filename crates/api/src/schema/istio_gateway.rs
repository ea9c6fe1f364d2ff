//! The schema of networking.istio.io Gateway.

use super::{Schema, boolean, labels, list, object, text, texts, uint32};

/// `spec`.
pub(super) fn spec() -> Schema {
    let port = object(
        "The port that clients dial.",
        [
            ("number", uint32("Its number; 0 for a socket of the file system.")),
            ("protocol", text("What is spoken: HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, TCP or TLS.")),
            ("name", text("Its name, which no other port of the Gateway has.")),
            ("targetPort", uint32("For ServiceEntries; not to be written here.")),
        ],
    )
    .needs(&["number", "protocol", "name"]);
    let hosts = "The hosts that are let in: names, of which the first label may be `*`, addresses, or `*`; before them a \
                 namespace and `/`, or `./` for its own, where only VirtualServices of that one are.";
    let server = object(
        "",
        [
            ("port", port),
            ("bind", text("The address that is listened on, or `unix://` and a path; absent for all addresses.")),
            ("hosts", texts(hosts)),
            ("tls", tls()),
            ("defaultEndpoint", text("Where what nobody routes would go; Istio does not implement it.")),
            ("name", text("Its name.")),
        ],
    )
    .needs(&["port", "hosts"]);
    object(
        "What is let in from outside.",
        [
            ("selector", labels("The labels of the pods that serve it, of any namespace; absent for all gateways.")),
            ("servers", list("What is let in, by port and hosts.", server)),
        ],
    )
}

fn tls() -> Schema {
    const MODES: [&str; 6] = ["PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"];
    let file_pair = object(
        "",
        [
            ("serverCertificate", text("The file with the certificate.")),
            ("privateKey", text("The file with its key.")),
            ("caCertificates", text("The file with who signs clients' certificates; not in effect here.")),
        ],
    );
    let redirect = "On a port of HTTP: every request is sent to `https`.";
    object(
        "How TLS is ended.",
        [
            ("httpsRedirect", boolean(redirect)),
            ("mode", text("Whether, and with which certificates; absent for `PASSTHROUGH`.").of(&MODES)),
            ("serverCertificate", text("The file with the server's certificate.")),
            ("privateKey", text("The file with its key.")),
            ("caCertificates", text("The file with who signs clients' certificates, for `MUTUAL`.")),
            ("caCrl", text("The file with clients' certificates that are revoked.")),
            ("credentialName", text("The Secret that has all of that, in the namespace of the pods.")),
            ("credentialNames", texts("Several, for keys of several kinds.").at_least(1).at_most(2)),
            ("caCertCredentialName", text("The Secret with who signs clients' certificates, if it is another.")),
            ("tlsCertificates", list("Several files, for keys of several kinds.", file_pair).at_least(1).at_most(2)),
            ("subjectAltNames", texts("The names one of which a client's certificate has.")),
            ("verifyCertificateSpki", texts("SHA-256 of the keys that clients may have, in base64.")),
            ("verifyCertificateHash", texts("SHA-256 of the certificates that clients may have, in hexadecimal.")),
            ("minProtocolVersion", version("The oldest version of TLS that is spoken; absent for 1.2.")),
            ("maxProtocolVersion", version("The newest version of TLS that is spoken; absent for 1.3.")),
            (
                "cipherSuites",
                texts("The cipher suites of TLS 1.2 that are spoken, by OpenSSL's names; absent for all."),
            ),
            ("insecureSkipVerify", boolean("Clients' certificates need not hold.").or_null()),
        ],
    )
    .rule(
        "(has(self.tlsCertificates) ? 1 : 0) + (has(self.credentialNames) ? 1 : 0) <= 1",
        "only one of credentialNames and tlsCertificates can be set",
    )
    .rule(
        "(has(self.credentialName) ? 1 : 0) + (has(self.credentialNames) ? 1 : 0) <= 1",
        "only one of credentialName and credentialNames can be set",
    )
    .rule(
        "(has(self.credentialName) ? 1 : 0) + (has(self.tlsCertificates) ? 1 : 0) <= 1",
        "only one of credentialName and tlsCertificates can be set",
    )
}

fn version(description: &'static str) -> Schema {
    text(description).of(&["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"])
}
