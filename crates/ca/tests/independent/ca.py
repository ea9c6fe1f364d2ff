"""A CA that is not ours: istio.v1.auth.IstioCertificateService by grpcio, protobuf and cryptography.

It is given a directory, in which it writes root.pem and token, and prints a line for each thing that happens: the port
that it listens on, whom it has certified for how long, whom it has refused and why. While a file of the name of a status
code of gRPC is in the directory, every request is refused with that code and the file's text.
"""

import datetime
import pathlib
import sys
from concurrent import futures

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2

SERVICE = "istio.v1.auth.IstioCertificateService"
NAME = "istiod.istio-system.svc"
BEARER = "Bearer the-only-token"


def messages():
    """The messages of istio.io/api, security/v1alpha1/ca.proto."""
    Field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="ca.proto", package="istio.v1.auth", syntax="proto3")
    file.dependency.append(struct_pb2.DESCRIPTOR.name)
    request = file.message_type.add(name="IstioCertificateRequest")
    request.field.add(name="csr", number=1, type=Field.TYPE_STRING, label=Field.LABEL_OPTIONAL)
    request.field.add(name="validity_duration", number=3, type=Field.TYPE_INT64, label=Field.LABEL_OPTIONAL)
    struct = ".google.protobuf.Struct"
    request.field.add(
        name="metadata", number=4, type=Field.TYPE_MESSAGE, type_name=struct, label=Field.LABEL_OPTIONAL)
    response = file.message_type.add(name="IstioCertificateResponse")
    response.field.add(name="cert_chain", number=1, type=Field.TYPE_STRING, label=Field.LABEL_REPEATED)
    pool = descriptor_pool.Default()
    pool.Add(file)
    of = lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName("istio.v1.auth." + name))
    return of("IstioCertificateRequest"), of("IstioCertificateResponse")


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


class Signer:
    """A root, and the intermediate below it that signs."""

    def __init__(self):
        self.root_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.root_name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "an independent root")])
        self.root = self.issue(self.root_name, self.root_key.public_key(), self.root_name, self.root_key, 3600, True)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "an independent intermediate")])
        self.intermediate = self.issue(self.name, self.key.public_key(), self.root_name, self.root_key, 3600, True)

    def issue(self, subject, public_key, issuer, key, seconds, is_ca, names=None):
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + datetime.timedelta(seconds=seconds))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        )
        if names is not None:
            usage = [x509.ExtendedKeyUsageOID.SERVER_AUTH, x509.ExtendedKeyUsageOID.CLIENT_AUTH]
            builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not subject.rdns)
        return builder.sign(key, hashes.SHA256())

    def leaf(self, subject, public_key, seconds, names):
        return self.issue(subject, public_key, self.name, self.key, seconds, False, names)

    def credentials(self):
        """Of the server itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self.leaf(x509.Name([]), key.public_key(), 3600, [x509.DNSName(NAME)])
        form = serialization.PrivateFormat.PKCS8
        private = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        return grpc.ssl_server_credentials([(private, pem(leaf) + pem(self.intermediate))])


class Service:
    def __init__(self, directory, signer, response):
        self.directory, self.signer, self.response = directory, signer, response

    def create(self, request, context):
        for code in grpc.StatusCode:
            file = self.directory / code.name
            if file.exists():
                self.refuse(context, code, file.read_text())
        if dict(context.invocation_metadata()).get("authorization") != BEARER:
            self.refuse(context, grpc.StatusCode.UNAUTHENTICATED, "this token is nobody's")
        csr = x509.load_pem_x509_csr(request.csr.encode())
        if not csr.is_signature_valid:
            self.refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "the request is not signed by its key")
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        wanted = [name.value for name in names]
        if wanted != [request.metadata["ImpersonatedIdentity"]]:
            self.refuse(context, grpc.StatusCode.INVALID_ARGUMENT, f"the request names {wanted}")
        leaf = self.signer.leaf(x509.Name([]), csr.public_key(), request.validity_duration, list(names))
        print("certified", wanted[0], request.validity_duration, flush=True)
        # As istiod answers: the leaf, what leads to the root, and the root.
        chain = [leaf, self.signer.intermediate, self.signer.root]
        return self.response(cert_chain=[pem(certificate).decode() for certificate in chain])

    def refuse(self, context, code, text):
        print("refused", code.name, flush=True)
        context.abort(code, text)


def main():
    directory = pathlib.Path(sys.argv[1])
    signer = Signer()
    (directory / "root.pem").write_bytes(pem(signer.root))
    (directory / "token").write_text(BEARER.removeprefix("Bearer ") + "\n")
    request, response = messages()
    handler = grpc.unary_unary_rpc_method_handler(
        Service(directory, signer, response).create,
        request_deserializer=request.FromString,
        response_serializer=response.SerializeToString,
    )
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {"CreateCertificate": handler})])
    port = server.add_secure_port("127.0.0.1:0", signer.credentials())
    server.start()
    print("listening", port, flush=True)
    # Until whoever started it is gone.
    sys.stdin.read()
    server.stop(None)


main()
