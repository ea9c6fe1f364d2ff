//! Changes of the configuration while requests are carried (proof 5).

use std::cell::Cell;
use std::fmt::Write as _;
use std::rc::Rc;

use super::support::{Mesh, REVIEWS, Server, destination_rule, run, virtual_service};

/// A thousand VirtualServices for others, and ours, in which two things always change together.
fn rules(generation: u32) -> String {
    let mut text = String::new();
    for number in 0..1000 {
        let _ = write!(
            text,
            "
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: other-{number}, namespace: shop}}
spec:
  hosts: [other-{number}.example]
  http: [{{headers: {{response: {{set: {{x-generation: '{generation}'}}}}}}, route: [{{destination: {{host: raw}}}}]}}]
"
        );
    }
    let version = 1 + generation % 3;
    text + &virtual_service(&format!(
        "http: [{{headers: {{request: {{set: {{x-asked: '{generation}'}}}}, response: {{set: {{x-generation: '{generation}'}}}}}}, route: [{{destination: {{host: reviews, subset: v{version}}}}}]}}]"
    )) + &destination_rule("reviews", "{}")
}

#[test]
fn requests_see_one_configuration_or_the_next_and_none_fails() {
    run(async {
        let mesh = Mesh::new(&rules(0)).await;
        let mut servers = Vec::new();
        for (address, name) in [("10.9.1.1:9080", "v1"), ("10.9.1.2:9080", "v2"), ("10.9.1.3:9080", "v3")] {
            servers.push(
                Server::answering(address, move |asked| async move {
                    http::Response::new(format!("{name} {}", asked.headers["x-asked"].to_str().unwrap()).into())
                })
                .await,
            );
        }
        let (over, carried) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0_u32)));
        let mut tasks = Vec::new();
        for number in 0..8 {
            let client = mesh.client("client").await;
            for connection in 0..8 {
                let mut http = if (number + connection) % 2 == 0 {
                    client.http1(REVIEWS).await
                } else {
                    client.http2(REVIEWS).await
                };
                let (over, carried) = (over.clone(), carried.clone());
                tasks.push(tokio::task::spawn_local(async move {
                    while !over.get() {
                        let answer = http.get("/", &[]).await;
                        assert_eq!(answer.status, 200, "{answer:?}");
                        let generation: u32 = answer.field("x-generation").parse().unwrap();
                        assert_eq!(answer.body, format!("v{} {generation}", 1 + generation % 3));
                        carried.set(carried.get() + 1);
                        // A pause, so that the servers and the waypoint have the CPUs as well.
                        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    }
                }));
            }
        }
        for generation in 1..=8 {
            mesh.apply(&rules(generation)).await;
        }
        over.set(true);
        for task in tasks {
            task.await.unwrap();
        }
        assert!(carried.get() > 500, "{}", carried.get());
    });
}
