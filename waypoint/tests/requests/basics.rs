//! There and back, without a rule.

use super::support::{BYTES, Mesh, RAW, REVIEWS, Server, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::spawn_local;

#[test]
fn a_request_goes_to_an_endpoint_and_its_answer_comes_back() {
    run(async {
        let mesh = Mesh::new("").await;
        let servers = [
            Server::named("10.9.1.1:9080", "v1").await,
            Server::named("10.9.1.2:9080", "v2").await,
            Server::named("10.9.1.3:9080", "v3").await,
        ];
        let client = mesh.client("client").await;
        for mut http in [client.http1(REVIEWS).await, client.http2(REVIEWS).await] {
            let answer = http
                .get(
                    "/reviews/0?x=y",
                    &[
                        ("user-agent", "curl"),
                        ("x-forwarded-client-cert", "forged"),
                        ("x-envoy-decorator-operation", "forged"),
                    ],
                )
                .await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            assert!(["v1", "v2", "v3"].contains(&answer.body.as_str()));
            assert_eq!(answer.field("server"), "istio-envoy");
            assert!(answer.headers.contains_key("x-envoy-upstream-service-time"));
        }
        let asked: Vec<_> = servers.iter().flat_map(Server::asked).collect();
        assert_eq!(asked.len(), 2);
        for asked in asked {
            assert_eq!((asked.path.as_str(), asked.host.as_str()), ("/reviews/0?x=y", "reviews:9080"));
            assert_eq!(asked.headers["x-forwarded-proto"], "http");
            assert_eq!(asked.headers["x-envoy-attempt-count"], "1");
            assert_eq!(asked.headers["x-envoy-decorator-operation"], "reviews.shop.svc.cluster.local:9080/*");
            assert_eq!(asked.headers["x-request-id"].len(), 36);
            assert!(!asked.headers.contains_key("x-forwarded-client-cert"));
        }
        let line = mesh.logged(&["GET /reviews/0?x=y HTTP/2", " 200 - via_upstream "]).await;
        assert!(line.contains("inbound-vip|9080|http|reviews.shop.svc.cluster.local"), "{line}");
        let labels =
            ["istio_requests_total{", "reporter=\"waypoint\"", "source_workload=\"client\"", "response_code=\"200\""];
        assert!(mesh.metric(&labels).await >= 1.0);
    });
}

#[test]
fn bytes_are_carried_as_they_are_and_a_server_that_speaks_first_is_heard() {
    run(async {
        let mesh = Mesh::new("").await;
        for address in ["10.9.1.4:7000", "10.9.1.5:5432", "10.9.1.6:5432"] {
            let listener = TcpListener::bind(address).await.unwrap();
            spawn_local(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    spawn_local(async move {
                        stream.write_all(b"220 hello\r\n").await.unwrap();
                        let (mut read, mut write) = stream.split();
                        tokio::io::copy(&mut read, &mut write).await.unwrap();
                        write.shutdown().await.unwrap();
                    });
                }
            });
        }
        let client = mesh.client("client").await;
        for service in [RAW, BYTES] {
            let mut stream = client.raw(service).await;
            let mut greeting = [0; 11];
            stream.read_exact(&mut greeting).await.unwrap();
            assert_eq!(&greeting, b"220 hello\r\n");
            stream.write_all(b"QUIT\r\n").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut rest = String::new();
            stream.read_to_string(&mut rest).await.unwrap();
            assert_eq!(rest, "QUIT\r\n");
        }
    });
}
