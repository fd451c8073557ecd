//! An address on the web → bytes that can be sought in, by range requests.
//!
//! A connection that drops is made again where it stopped. A server without ranges gives a
//! [`Stream`]: its bytes come once, and a broken connection is the end.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body, ResponseExt as _};

use super::opening::{Opening, Timed};
use super::stream::Stream;
use super::{Liveness, Source, SourceError, SourceOptions};
use crate::media::demux::MediaSource;
use crate::secret::Secret;

/// Redirects that are followed.
const MAX_REDIRECTS: u32 = 5;
/// Connections that may break one after the other without a byte between them.
const MAX_RETRIES: u32 = 5;
/// The wait before the first repetition; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Going forward by less than this reads on instead of asking anew.
const READ_ON: u64 = 256 << 10;

/// Opens an address. Live is what the server of a radio station sends: it says `icy-` this and that,
/// and nowhere an end.
pub(super) fn open(url: &str, options: &SourceOptions) -> Result<Source, SourceError> {
    let client = Client::new(url, options);
    let opening = Opening::new(url, options.opening);
    let response = client.get(Some(0))?;
    let total = match response.status() {
        StatusCode::PARTIAL_CONTENT => total_of(&response),
        _ => None,
    };
    let length = total.or_else(|| response.body().content_length());
    if let Some(length) = length
        && length > options.max_bytes
    {
        return Err(SourceError::TooLong { location: url.to_owned(), length, limit: options.max_bytes });
    }
    if length == Some(0) {
        return Err(SourceError::Empty { path: url.into() });
    }
    let is_station = response.headers().keys().any(|name| name.as_str().starts_with("icy-"));
    let live = (is_station && length.is_none()).then(|| Liveness { is_endless: true, ..Liveness::default() });
    let body = body_of(response, &opening);
    let bytes: Box<dyn MediaSource> = match total {
        Some(len) => {
            let (body, opening) = (Mutex::new(Some(body)), opening.clone());
            Box::new(Ranged { client, len, pos: 0, body, body_pos: 0, opening })
        }
        // It is longer than any file may be.
        None if live.is_some() => Box::new(Stream::new(body)),
        None => Box::new(Stream::new(body.take(options.max_bytes))),
    };
    Ok(Source { bytes, live, opening: Some(opening) })
}

fn body_of(response: Response<Body>, opening: &Opening) -> Box<dyn Read + Send> {
    Box::new(Timed { inner: response.into_body().into_reader(), opening: opening.clone() })
}

/// All of a short text, and the address that gives it after redirects.
pub(super) fn fetch(
    url: &str,
    max_bytes: u64,
    options: &SourceOptions,
) -> Result<(String, Vec<u8>), SourceError> {
    let response = Client::new(url, options).get(None)?;
    let address = response.get_uri().to_string();
    let mut body = response.into_body().into_reader().take(max_bytes);
    let (begun, mut bytes, mut piece) = (now(), Vec::new(), [0; 16 << 10]);
    loop {
        let read = match body.read(&mut piece) {
            // A server that is never silent for long may still never come to an end.
            Ok(1..) if begun.elapsed() > options.patience => Err(io::ErrorKind::TimedOut.into()),
            read => read,
        };
        match read.map_err(|cause| SourceError::Io { path: url.into(), cause })? {
            0 => return Ok((address, bytes)),
            len => bytes.extend_from_slice(&piece[..len]),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "how long a server takes")]
fn now() -> Instant {
    Instant::now()
}

/// The length of the whole from `Content-Range: bytes 0-99/100`.
fn total_of(response: &Response<Body>) -> Option<u64> {
    let range = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.rsplit_once('/')?.1.parse().ok()
}

/// How one address is asked for.
#[derive(Debug)]
struct Client {
    agent: Agent,
    url: String,
    headers: Vec<(String, Secret<String>)>,
}

impl Client {
    fn new(url: &str, options: &SourceOptions) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(MAX_REDIRECTS)
            .timeout_connect(Some(options.patience))
            .timeout_recv_response(Some(options.patience))
            .timeout_per_read(Some(options.patience))
            .user_agent(concat!("telecast/", env!("CARGO_PKG_VERSION")));
        Self { agent: config.build().into(), url: url.to_owned(), headers: options.headers.clone() }
    }

    /// Asks for everything from `at` on, or plainly for all.
    fn get(&self, at: Option<u64>) -> Result<Response<Body>, SourceError> {
        let mut request = self.agent.get(&self.url);
        if let Some(at) = at {
            request = request.header(header::RANGE, format!("bytes={at}-"));
        }
        // Compressed bytes have other positions.
        request = request.header(header::ACCEPT_ENCODING, "identity");
        for (name, value) in &self.headers {
            request = request.header(name, value.expose());
        }
        let response = request
            .call()
            .map_err(|cause| SourceError::Http { location: self.url.clone(), cause: Box::new(cause) })?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            status => Err(SourceError::Status { location: self.url.clone(), status: status.as_u16() }),
        }
    }
}

/// A file on a server that knows ranges.
struct Ranged {
    client: Client,
    len: u64,
    pos: u64,
    /// In a mutex only because it need not be `Sync`; nobody ever waits for it.
    body: Mutex<Option<Box<dyn Read + Send>>>,
    /// Where `body` stands.
    body_pos: u64,
    opening: Opening,
}

impl Ranged {
    fn body(&mut self) -> &mut Option<Box<dyn Read + Send>> {
        self.body.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn reconnect(&mut self) -> io::Result<()> {
        let response = self.client.get(Some(self.pos)).map_err(io::Error::other)?;
        if response.status() != StatusCode::PARTIAL_CONTENT || total_of(&response) != Some(self.len) {
            return Err(io::Error::other(
                "the file on the server has changed while it was read; start again",
            ));
        }
        self.body_pos = self.pos;
        *self.body() = Some(body_of(response, &self.opening));
        Ok(())
    }

    /// Some bytes at `pos`; an error when the connection breaks.
    fn try_read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let ahead = self.pos.checked_sub(self.body_pos).filter(|ahead| *ahead <= READ_ON);
        match (self.body().is_some(), ahead) {
            (true, Some(ahead)) => {
                let body = self.body().as_mut().expect("it is there");
                let skipped = io::copy(&mut body.take(ahead), &mut io::sink())?;
                self.body_pos += skipped;
                if skipped < ahead {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            _ => self.reconnect()?,
        }
        let body = self.body().as_mut().expect("connected above");
        match body.read(buf)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                self.body_pos += n as u64;
                self.pos += n as u64;
                Ok(n)
            }
        }
    }
}

impl Read for Ranged {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.pos >= self.len || buf.is_empty() {
            return Ok(0);
        }
        let mut wait = FIRST_WAIT;
        for _ in 0..MAX_RETRIES {
            if self.opening.left().is_some_and(|left| left.is_zero()) {
                return Err(self.opening.give_up());
            }
            match self.try_read(buf) {
                Ok(n) => return Ok(n),
                Err(error) => {
                    tracing::debug!(url = %self.client.url, pos = self.pos, %error, "the connection broke")
                }
            }
            *self.body() = None;
            // Blocks the one thread that reads this source, which has nothing else to do.
            std::thread::park_timeout(wait);
            wait *= 2;
        }
        self.try_read(buf)
    }
}

impl Seek for Ranged {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let wanted = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.pos.checked_add_signed(by),
        };
        self.pos = wanted.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.pos)
    }
}
