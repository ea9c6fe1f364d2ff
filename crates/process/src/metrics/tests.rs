use bytes::Bytes;
use http::header::CONTENT_TYPE;

use super::*;

async fn scraped(target: &str, accept: Option<&str>, page: Result<String, u8>) -> (u16, String, String) {
    let routes =
        routes(move || std::future::ready(page.clone().map_err(|worker| Error::NoAnswer { worker: worker.into() })));
    let mut request = http::Request::get(target);
    if let Some(accept) = accept {
        request = request.header(ACCEPT, accept);
    }
    let response = routes.answer(request.body(Bytes::new()).unwrap()).await;
    let content_type = response.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
    (response.status().as_u16(), content_type, String::from_utf8(response.into_body().to_vec()).unwrap())
}

#[tokio::test]
async fn both_paths_answer_in_the_type_that_the_scraper_accepts() {
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
    for path in ["/metrics", "/stats/prometheus"] {
        for (accept, content_type) in [
            (Some(prometheus), Exposition::OPENMETRICS),
            (Some("text/plain"), Exposition::PLAIN),
            (None, Exposition::PLAIN),
        ] {
            let expected = (200, content_type.to_owned(), "page".to_owned());
            assert_eq!(scraped(path, accept, Ok("page".to_owned())).await, expected);
        }
    }
}

#[tokio::test]
async fn a_page_with_a_worker_missing_is_no_page() {
    let (status, _, text) = scraped("/metrics", None, Err(1)).await;
    assert_eq!((status, text.as_str()), (503, "worker 1 did not answer\n"));
}
