use super::*;

fn request(method: Method, target: &str) -> Request {
    http::Request::builder().method(method).uri(target).body(Bytes::from_static(b"body")).unwrap()
}

fn table() -> Routes {
    Routes::new("a table")
        .get("/things", "shows things", |_| async { text(StatusCode::OK, "things") })
        .post("/things", "changes things", |request| async move { text(StatusCode::ACCEPTED, request.into_body()) })
        .and(Routes::new("more").post("/more", "more", |_| async { json(&[1, 2]) }))
}

async fn answered(method: Method, target: &str) -> (u16, String) {
    let response = table().answer(request(method, target)).await;
    (response.status().as_u16(), String::from_utf8(response.into_body().to_vec()).unwrap())
}

#[tokio::test]
async fn method_and_path_find_the_answer() {
    assert_eq!(answered(Method::GET, "/things?a=b").await, (200, "things".to_owned()));
    assert_eq!(answered(Method::HEAD, "/things").await.0, 200);
    assert_eq!(answered(Method::POST, "/things").await, (202, "body".to_owned()));
    assert_eq!(answered(Method::POST, "/more").await, (200, "[\n  1,\n  2\n]".to_owned()));
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    for target in ["/thing", "/things/", "/things/x", "//things", "/%74hings"] {
        assert_eq!(answered(Method::GET, target).await.0, 404, "{target}");
    }
    assert_eq!(answered(Method::POST, "/").await.0, 404);
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let response = table().answer(request(Method::DELETE, "/things")).await;
    assert_eq!((response.status().as_u16(), response.headers()[ALLOW].to_str().unwrap()), (405, "GET, POST"));
    let response = table().answer(request(Method::HEAD, "/more")).await;
    assert_eq!((response.status().as_u16(), response.headers()[ALLOW].to_str().unwrap()), (405, "POST"));
}

#[tokio::test]
async fn the_root_lists_what_there_is() {
    let (status, list) = answered(Method::GET, "/").await;
    assert_eq!(status, 200);
    for part in ["a table\n", "GET  /things", "shows things\n", "POST /things", "POST /more"] {
        assert!(list.contains(part), "{list}");
    }
}

#[test]
fn parameters_are_decoded() {
    let request = request(Method::POST, "/logging?level=a%3Ddebug%2Cb&empty=&reset&level=second&plus=a+b");
    assert_eq!(parameter(&request, "level").as_deref(), Some("a=debug,b"));
    assert_eq!(parameter(&request, "empty").as_deref(), Some(""));
    assert_eq!(parameter(&request, "reset").as_deref(), Some(""));
    assert_eq!(parameter(&request, "plus").as_deref(), Some("a b"));
    assert_eq!(parameter(&request, "absent"), None);
}

#[test]
fn what_cannot_be_json_is_an_error() {
    let response = json(&std::collections::BTreeMap::from([((), 1)]));
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
}
