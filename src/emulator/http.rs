//! The doors for other processes, on the loopback interface: Telegram's join over HTTP for any
//! client, an SDP exchange for web pages, and the viewer page itself.
//!
//! ```text
//! POST /join         {"chat","params",…}        ► the params JSON itself, header X-Participant
//! POST /leave        {"chat","participant"}     ► {}
//! POST /check        {"chat","name","sources"}  ► {"sources":[…]}
//! POST /edit         {"chat","name","muted",…}  ► {}
//! GET  /participants?chat=&offset=              ► {"participants":[…],"version":1,"next_offset":""}
//! POST /viewer/join  {"chat","sdp"}             ► {"sdp","participant"}
//! GET  /stats?chat=                             ► [{"name","streams":[…]},…]
//! GET  /?chat=                                  ► the page
//! ```
//!
//! An error is `{"error":{"code":400,"message":"GROUPCALL_JOIN_MISSING"}}`, with that HTTP status.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::ParticipantId;
use super::net::{Control, EmulatorError};
use super::rpc::RpcError;
use super::sfu::JoinRequest;
use super::stats::ParticipantStats;
use crate::call::signaling::Edit;

const INDEX: &str = include_str!("viewer/index.html");
const SCRIPT: &str = include_str!("viewer/viewer.js");
const STYLE: &str = include_str!("viewer/viewer.css");

/// Names the participant of a join.
const PARTICIPANT_HEADER: &str = "x-participant";

/// A browser's offer with many m-lines has some 100 KiB.
const MAX_BODY: usize = 512 * 1024;

/// Requests that are still being served get this long when the emulator ends.
const GRACE: Duration = Duration::from_secs(1);

/// A running HTTP door. It ends with the emulator.
#[derive(Clone, Copy, Debug)]
pub struct HttpDoor {
    local: SocketAddr,
}

impl HttpDoor {
    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

impl std::fmt::Display for HttpDoor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.local.fmt(f)
    }
}

/// Opens the door at `addr`; `spawn` takes the task that serves it.
pub(super) async fn open(
    control: Control,
    addr: SocketAddr,
    spawn: impl FnOnce(Serving),
) -> Result<HttpDoor, EmulatorError> {
    if !addr.ip().is_loopback() {
        return Err(EmulatorError::NotLoopback(addr));
    }
    let bind = |cause| EmulatorError::Bind { addr, cause };
    let listener = TcpListener::bind(addr).await.map_err(bind)?;
    let local = listener.local_addr().map_err(bind)?;
    spawn(Box::pin(serve(listener, control)));
    Ok(HttpDoor { local })
}

/// The task of a door.
pub(super) type Serving = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

async fn serve(listener: TcpListener, control: Control) {
    let cancel = control.cancel.clone();
    let server =
        axum::serve(listener, router(control)).with_graceful_shutdown(cancel.clone().cancelled_owned());
    let overdue = async {
        cancel.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = server => if let Err(error) = served {
            tracing::error!(%error, "the HTTP door failed");
        },
        () = overdue => tracing::debug!("requests were cut off"),
    }
}

fn router(control: Control) -> Router {
    Router::new()
        .route("/", get(|| asset("text/html; charset=utf-8", INDEX)))
        .route("/viewer/viewer.js", get(|| asset("text/javascript; charset=utf-8", SCRIPT)))
        .route("/viewer/viewer.css", get(|| asset("text/css; charset=utf-8", STYLE)))
        .route("/join", post(join))
        .route("/leave", post(leave))
        .route("/check", post(check))
        .route("/edit", post(edit))
        .route("/participants", get(participants))
        .route("/viewer/join", post(viewer_join))
        .route("/stats", get(stats))
        .fallback(async || ApiError::new(StatusCode::NOT_FOUND, "no such path"))
        .method_not_allowed_fallback(async || {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "no such method here")
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(same_origin))
        .with_state(control)
}

/// Pages of other sites shall not talk to a server on this machine.
async fn same_origin(request: Request, next: Next) -> Response {
    if is_same_origin(request.headers()) {
        next.run(request).await
    } else {
        ApiError::new(StatusCode::FORBIDDEN, "another origin").into_response()
    }
}

fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).unwrap_or_default();
    text(header::ORIGIN).is_none_or(|origin| origin.split_once("://").is_some_and(|(_, of)| of == host))
}

#[expect(clippy::unused_async, reason = "axum's handlers are async")]
async fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text)
}

#[derive(Deserialize)]
struct JoinBody {
    chat: String,
    /// The JSON, as text or as an object.
    params: Value,
    name: Option<String>,
    #[serde(default)]
    muted: bool,
    #[serde(default)]
    video_stopped: bool,
    #[serde(default)]
    observer: bool,
}

async fn join(State(control): State<Control>, body: Bytes) -> Result<Response, ApiError> {
    let body: JoinBody = read(&body)?;
    let params = match body.params {
        Value::String(text) => text,
        object => object.to_string(),
    };
    let name = body.name.unwrap_or_else(|| format!("http-{:08x}", fastrand::u32(..)));
    let JoinBody { chat, muted, video_stopped, observer, .. } = body;
    let request = JoinRequest { chat, name, params, muted, video_stopped, observer };
    let joined = control.with(move |sfu, now| sfu.join(&request, now)).await??;
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::HeaderName::from_static(PARTICIPANT_HEADER), joined.participant.to_string()),
    ];
    Ok((headers, joined.params).into_response())
}

/// Whom a request is about: by the id that the join answered, or by name.
#[derive(Deserialize)]
struct Whom {
    chat: String,
    participant: Option<ParticipantId>,
    name: Option<String>,
}

impl Whom {
    /// Chat and name.
    async fn resolve(self, control: &Control) -> Result<(String, String), ApiError> {
        let Self { chat, participant, name } = self;
        let found = match (name, participant) {
            (Some(name), _) => Some((chat, name)),
            (None, Some(id)) => {
                let identity = move |sfu: &mut super::Sfu, _| {
                    sfu.identity(id).map(|(c, n)| (c.to_owned(), n.to_owned()))
                };
                control.with(identity).await?.filter(|(of, _)| *of == chat)
            }
            (None, None) => {
                return Err(ApiError::new(StatusCode::BAD_REQUEST, "`participant` or `name` is missing"));
            }
        };
        Ok(found.ok_or_else(RpcError::join_missing)?)
    }
}

#[derive(Deserialize)]
struct LeaveBody {
    #[serde(flatten)]
    whom: Whom,
    #[serde(default)]
    source: i32,
}

async fn leave(State(control): State<Control>, body: Bytes) -> Result<Json<Value>, ApiError> {
    let LeaveBody { whom, source } = read(&body)?;
    let Some(id) = whom.participant else {
        let (chat, name) = whom.resolve(&control).await?;
        control.with(move |sfu, now| sfu.leave(&chat, &name, source, now)).await??;
        return Ok(Json(json!({})));
    };
    // An id names one connection, that of a page too: a later one of the same name stays.
    let end = move |sfu: &mut super::Sfu, now| {
        let is_there = sfu.identity(id).is_some_and(|(chat, _)| chat == whom.chat);
        if is_there {
            sfu.remove(id, now);
        }
        is_there
    };
    if !control.with(end).await? {
        return Err(RpcError::join_missing().into());
    }
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
struct CheckBody {
    #[serde(flatten)]
    whom: Whom,
    #[serde(default)]
    sources: Vec<i32>,
}

async fn check(State(control): State<Control>, body: Bytes) -> Result<Json<Value>, ApiError> {
    let CheckBody { whom, sources } = read(&body)?;
    let (chat, name) = whom.resolve(&control).await?;
    let known = control.with(move |sfu, _| sfu.check(&chat, &name, &sources)).await??;
    Ok(Json(json!({ "sources": known })))
}

#[derive(Deserialize)]
struct EditBody {
    #[serde(flatten)]
    whom: Whom,
    muted: Option<bool>,
    volume: Option<u32>,
    raise_hand: Option<bool>,
    video_stopped: Option<bool>,
    video_paused: Option<bool>,
}

async fn edit(State(control): State<Control>, body: Bytes) -> Result<Json<Value>, ApiError> {
    let EditBody { whom, muted, volume, raise_hand, video_stopped, video_paused } = read(&body)?;
    let (chat, name) = whom.resolve(&control).await?;
    let edit = Edit { muted, volume, raise_hand, video_stopped, video_paused };
    control.with(move |sfu, now| sfu.edit(&chat, &name, &edit, now)).await??;
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
struct ListQuery {
    chat: String,
    #[serde(default)]
    offset: String,
}

async fn participants(
    State(control): State<Control>,
    query: Query<ListQuery>,
) -> Result<Json<Value>, ApiError> {
    let Query(ListQuery { chat, offset }) = query;
    let page = control.with(move |sfu, _| sfu.list(&chat, &[], &offset)).await?;
    let (participants, version, next_offset) = (page.participants, page.version, page.next_offset);
    Ok(Json(json!({ "participants": participants, "version": version, "next_offset": next_offset })))
}

#[derive(Deserialize)]
struct ViewerBody {
    chat: String,
    sdp: String,
}

#[derive(Serialize)]
struct ViewerAnswer {
    sdp: String,
    participant: ParticipantId,
}

async fn viewer_join(State(control): State<Control>, body: Bytes) -> Result<Json<ViewerAnswer>, ApiError> {
    let ViewerBody { chat, sdp } = read(&body)?;
    let joined = control.with(move |sfu, now| sfu.join_browser(&chat, "page", &sdp, now)).await??;
    Ok(Json(ViewerAnswer { sdp: joined.params, participant: joined.participant }))
}

async fn stats(
    State(control): State<Control>,
    query: Query<ListQuery>,
) -> Result<Json<Vec<ParticipantStats>>, ApiError> {
    Ok(Json(control.with(move |sfu, now| sfu.stats(&query.chat, now)).await?))
}

/// Whatever the content type says: `curl -d` announces a form.
fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, error.to_string()))
}

/// An error as the doors tell it.
#[derive(Debug)]
struct ApiError {
    status: StatusCode,
    message: String,
}

impl ApiError {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

impl From<RpcError> for ApiError {
    fn from(RpcError { code, message }: RpcError) -> Self {
        let status = u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok());
        Self { status: status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), message }
    }
}

impl From<EmulatorError> for ApiError {
    fn from(error: EmulatorError) -> Self {
        match error {
            EmulatorError::Rpc(error) => error.into(),
            other => Self::new(StatusCode::SERVICE_UNAVAILABLE, other.to_string()),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({ "error": { "code": self.status.as_u16(), "message": self.message } });
        (self.status, Json(body)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::{Emulator, EmulatorOptions};

    const FINGERPRINT: &str = "3B:91:0C:5E:77:AA:14:D2:60:8F:E1:49:B3:02:CD:7A:\
                               95:6E:2F:18:C4:8D:31:F0:5B:A6:E9:13:70:4C:DE:28";

    /// Status, participant header and JSON of what a path answers.
    fn ask(
        door: HttpDoor,
        path: &str,
        body: Option<Value>,
        origin: Option<&str>,
    ) -> (u16, Option<String>, Value) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let url = format!("http://{door}{path}");
        let mut response = match body {
            Some(body) => {
                let request = agent.post(&url);
                let request = match origin {
                    Some(origin) => request.header("origin", origin),
                    None => request,
                };
                request.send(&body.to_string()).expect("answers")
            }
            None => agent.get(&url).call().expect("answers"),
        };
        let participant =
            response.headers().get(PARTICIPANT_HEADER).map(|id| id.to_str().expect("text").to_owned());
        let text = response.body_mut().read_to_string().expect("text");
        (response.status().as_u16(), participant, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn with_door(test: impl FnOnce(HttpDoor) + Send + 'static) {
        let emulator = Emulator::start(EmulatorOptions::default()).await.expect("starts");
        let door = emulator.serve_http("127.0.0.1:0".parse().expect("an address")).await.expect("listens");
        tokio::task::spawn_blocking(move || test(door)).await.expect("passes");
        emulator.shutdown().await;
    }

    fn join_body() -> Value {
        json!({ "chat": "c", "name": "bot", "params": {
            "ssrc": 7, "ufrag": "k8Qz", "pwd": "Y1nVb0oXw7c3Lr5TgJ2uKeHs",
            "fingerprints": [{ "hash": "sha-256", "setup": "passive", "fingerprint": FINGERPRINT }],
            "ssrc-groups": [{ "semantics": "FID", "sources": [8, 9] }],
        } })
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_participant_comes_and_goes() {
        with_door(|door| {
            let post = |path: &str, body: Value| ask(door, path, Some(body), None);
            let (status, participant, answer) = post("/join", join_body());
            assert_eq!((status, &answer["video"]["payload-types"][4]["name"]), (200, &json!("H264")));
            let participant: u64 = participant.expect("a header").parse().expect("a number");

            let (_, _, list) = ask(door, "/participants?chat=c", None, None);
            assert_eq!(
                list["participants"][0]["video"]["source_groups"][0],
                json!({ "semantics": "FID", "sources": [8, 9] })
            );
            assert_eq!(list["participants"][0]["video"]["endpoint"], answer["video"]["endpoint"]);

            let known =
                post("/check", json!({ "chat": "c", "participant": participant, "sources": [7, 70] })).2;
            assert_eq!(known, json!({ "sources": [7] }));
            assert_eq!(post("/edit", json!({ "chat": "c", "name": "bot", "muted": true })).0, 200);
            assert_eq!(ask(door, "/participants?chat=c", None, None).2["participants"][0]["muted"], true);
            let stats = ask(door, "/stats?chat=c", None, None).2;
            assert_eq!((&stats[0]["name"], &stats[0]["streams"][1]["ssrc"]), (&json!("bot"), &json!(8)));

            assert_eq!(post("/leave", json!({ "chat": "c", "participant": participant })).0, 200);
            let (status, _, error) = post("/check", json!({ "chat": "c", "name": "bot" }));
            assert_eq!(
                (status, error),
                (400, json!({ "error": { "code": 400, "message": "GROUPCALL_JOIN_MISSING" } }))
            );
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_wrong_is_said_in_json() {
        with_door(|door| {
            let error = |path: &str, body: Option<Value>| {
                let (status, _, answer) = ask(door, path, body, None);
                assert_eq!(answer["error"]["code"], status, "{path}");
                (status, answer["error"]["message"].as_str().expect("a message").to_owned())
            };
            let duplicate = (400, "GROUPCALL_SSRC_DUPLICATE_MUCH".to_owned());
            assert_eq!(error("/join", Some(json!({ "chat": "c", "params": "{}" }))), duplicate);
            assert_eq!(error("/join", Some(json!({ "params": "{}" }))).0, 400);
            assert_eq!(error("/viewer/join", Some(json!({ "chat": "c", "sdp": "v=0" }))).0, 400);
            assert_eq!(error("/leave", Some(json!({ "chat": "c" }))).0, 400);
            assert_eq!(error("/nowhere", None).0, 404);
            assert_eq!(error("/join", None).0, 405);
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn other_sites_are_kept_out_and_the_page_is_served() {
        with_door(|door| {
            assert_eq!(ask(door, "/join", Some(join_body()), Some("http://example.org")).0, 403);
            let own = format!("http://{door}");
            assert_eq!(ask(door, "/join", Some(join_body()), Some(&own)).0, 200);
            let page = ask(door, "/?chat=c", None, None).2;
            assert!(page.as_str().is_some_and(|page| page.contains("viewer.js")));
            assert!(
                ask(door, "/viewer/viewer.js", None, None)
                    .2
                    .as_str()
                    .is_some_and(|script| script.contains("/viewer/join"))
            );
        })
        .await;
    }

    #[tokio::test]
    async fn listens_on_loopback_only() {
        let emulator = Emulator::start(EmulatorOptions::default()).await.expect("starts");
        let error =
            emulator.serve_http("0.0.0.0:0".parse().expect("an address")).await.expect_err("not loopback");
        assert!(matches!(error, EmulatorError::NotLoopback(_)), "{error}");
        emulator.shutdown().await;
    }
}
