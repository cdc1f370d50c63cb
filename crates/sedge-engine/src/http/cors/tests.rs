//! Expected headers are what the npm package `cors` 2.8.6 sent for the same options and requests,
//! unless a test says otherwise.

use super::*;

const A: &str = "https://a.example";
const B: &str = "https://b.example";

/// A request as (name, value) pairs.
fn request(headers: &[(&'static str, &str)]) -> Head {
    let mut parts = http::Request::new(()).into_parts().0;
    let lines = headers.iter().map(|(n, v)| (HeaderName::from_static(n), v.parse().unwrap()));
    parts.headers = lines.collect();
    parts.headers.insert("host", HeaderValue::from_static("x"));
    Head::parsed(parts).unwrap()
}

/// The headers sorted by name, so that their order does not matter.
fn sorted(headers: &Headers) -> Vec<(&str, &str)> {
    let mut all: Vec<_> =
        headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    all.sort_unstable();
    all
}

#[track_caller]
fn assert_applied(cors: &Cors, origin: Option<&str>, expected: &[(&str, &str)]) {
    let mut response = Headers::default();
    cors.compile().unwrap().apply(origin.map(str::as_bytes), &mut response);
    assert_eq!(sorted(&response), expected);
}

#[track_caller]
fn assert_preflight(cors: &Cors, headers: &[(&'static str, &str)], expected: &[(&str, &str)]) {
    let response = cors.compile().unwrap().preflight(&request(headers));
    assert_eq!(sorted(&response), expected);
}

const ALLOW: &str = "access-control-allow-origin";
const METHODS: (&str, &str) = ("access-control-allow-methods", "GET,HEAD,PUT,PATCH,POST,DELETE");
const EMPTY: (&str, &str) = ("content-length", "0");
const BOTH: (&str, &str) = ("vary", "Origin, Access-Control-Request-Headers");
const ASKING: [(&str, &str); 3] = [
    ("origin", A),
    ("access-control-request-method", "POST"),
    ("access-control-request-headers", "x-one, X-Two"),
];

#[test]
fn any_origin() {
    for origin in [None, Some(A)] {
        assert_applied(&Cors::any(), origin, &[(ALLOW, "*")]);
        assert_applied(&Cors::origin("*"), origin, &[(ALLOW, "*")]);
    }
    let mirrored = ("access-control-allow-headers", "x-one, X-Two");
    let vary = ("vary", "Access-Control-Request-Headers");
    assert_preflight(&Cors::any(), &ASKING, &[mirrored, METHODS, (ALLOW, "*"), EMPTY, vary]);
    assert_preflight(&Cors::any(), &[("origin", B)], &[METHODS, (ALLOW, "*"), EMPTY, vary]);
}

#[test]
fn mirrored_origin() {
    let cors = Cors::mirror();
    assert_applied(&cors, None, &[("vary", "Origin")]);
    assert_applied(&cors, Some(B), &[(ALLOW, B), ("vary", "Origin")]);
    assert_preflight(&cors, &[("origin", B)], &[METHODS, (ALLOW, B), EMPTY, BOTH]);
}

#[test]
fn a_fixed_origin_is_named_to_everybody() {
    let cors = Cors::origin(A);
    for origin in [None, Some(A), Some(B)] {
        assert_applied(&cors, origin, &[(ALLOW, A), ("vary", "Origin")]);
    }
    assert_preflight(&cors, &[("origin", B)], &[METHODS, (ALLOW, A), EMPTY, BOTH]);
}

#[test]
fn listed_origins_and_predicates_name_only_who_asks() {
    // The package treats regular expressions so; a function that refuses makes it send nothing at
    // all, not even `Vary`, and lets the preflight fall through.
    let list = Cors::origins([A, "https://c.example"]);
    let predicate = Cors::matching(|origin| origin.ends_with("a.example"));
    for cors in [list, predicate] {
        assert_applied(&cors, None, &[("vary", "Origin")]);
        assert_applied(&cors, Some(A), &[(ALLOW, A), ("vary", "Origin")]);
        assert_applied(&cors, Some(B), &[("vary", "Origin")]);
        let mirrored = ("access-control-allow-headers", "x-one, X-Two");
        assert_preflight(&cors, &ASKING, &[mirrored, METHODS, (ALLOW, A), EMPTY, BOTH]);
        assert_preflight(&cors, &[("origin", B)], &[METHODS, EMPTY, BOTH]);
    }
}

#[test]
fn every_option_is_sent() {
    let cors = Cors::origins([A])
        .methods(["GET", "POST"])
        .allowed_headers(["x-a", "x-b"])
        .exposed_headers(["e1", "e2"])
        .credentials(true)
        .max_age(Duration::from_mins(10));
    let credentials = ("access-control-allow-credentials", "true");
    let exposed = ("access-control-expose-headers", "e1,e2");
    let vary = ("vary", "Origin");
    assert_applied(&cors, Some(A), &[credentials, (ALLOW, A), exposed, vary]);
    assert_applied(&cors, Some(B), &[credentials, exposed, vary]);
    let allowed = ("access-control-allow-headers", "x-a,x-b");
    let methods = ("access-control-allow-methods", "GET,POST");
    let age = ("access-control-max-age", "600");
    let expected = [credentials, allowed, methods, (ALLOW, A), exposed, age, EMPTY, vary];
    assert_preflight(&cors, &ASKING, &expected);
}

#[test]
fn an_empty_list_of_headers_allows_none() {
    let cors = Cors::origin(A).allowed_headers([""; 0]);
    assert_preflight(&cors, &ASKING, &[METHODS, (ALLOW, A), EMPTY, ("vary", "Origin")]);
}

#[test]
fn origins_that_are_no_text_are_not_shown_to_the_predicate() {
    let cors = Cors::matching(|_| true).compile().unwrap();
    let mut response = Headers::default();
    cors.apply(Some(b"https://\xff"), &mut response);
    assert_eq!(sorted(&response), [("vary", "Origin")]);
}

#[test]
fn vary_keeps_what_is_there() {
    let vary = |before: &[&'static str]| {
        let mut headers = Headers::default();
        for value in before {
            headers.append(VARY, HeaderValue::from_static(value));
        }
        add_vary(&mut headers, "Origin");
        let lines = headers.all(&VARY).map(|v| v.to_str().unwrap().to_owned());
        lines.collect::<Vec<_>>()
    };
    assert_eq!(vary(&[]), ["Origin"]);
    assert_eq!(vary(&["Accept-Encoding"]), ["Accept-Encoding, Origin"]);
    assert_eq!(vary(&["accept, origin"]), ["accept, origin"]);
    assert_eq!(vary(&["*"]), ["*"]);
    assert_eq!(vary(&["A", "B"]), ["A", "B", "Origin"]);
    assert_eq!(vary(&["A", "ORIGIN"]), ["A", "ORIGIN"]);
}

#[test]
fn rules_that_cannot_work_are_errors() {
    let error = |cors: Cors| cors.compile().unwrap_err();
    assert_eq!(error(Cors::any().credentials(true)), CorsError::CredentialsForAny);
    assert_eq!(error(Cors::origins([""; 0])), CorsError::NoOrigin);
    assert_eq!(error(Cors::any().methods([""; 0])), CorsError::NoMethod);
    for origin in [
        "https://a.example/",
        "https://a.example/path",
        "a.example",
        "https://*.a.example",
        "*",
        "",
        "://a",
        "https://A.example",
        "https://a.example https://b.example",
        "https://é.example",
    ] {
        assert_eq!(error(Cors::origins([origin])), CorsError::Origin(origin.to_owned()));
    }
    for name in ["", "a b", "x-a, x-b", "x\n"] {
        assert_eq!(error(Cors::any().allowed_headers([name])), CorsError::Name(name.to_owned()));
    }
}

#[test]
fn origins_of_every_kind_of_page_are_accepted() {
    for origin in
        ["null", "http://localhost:3000", "http://[::1]:80", "capacitor://localhost", "file://"]
    {
        assert!(Cors::origins([origin]).compile().is_ok(), "{origin}");
    }
}
