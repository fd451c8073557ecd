//! Sources that go on whether anybody reads them or not: a radio station, a playlist that grows, an
//! address at which nobody sends.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use telecast::media::codec::opus::Decoder;
use telecast::media::demux::DemuxError;
use telecast::media::probe::Probe;
use telecast::media::{MediaError, MediaKind, Reader, ReaderOptions};
use telecast::player::{Item, Player, PlayerOptions};
use telecast::time::MediaTime;

use crate::formats::ffmpeg;

const SOUND: MediaTime = MediaTime::from_millis(20);

#[expect(clippy::disallowed_methods, reason = "how old sound is, is measured on the real clock")]
fn now() -> Instant {
    Instant::now()
}

/// A tone that says in which second it was made.
fn tone(secs: u32) -> String {
    format!("aevalsrc='0.3*sin(2*PI*(400+100*floor(t))*t)':d={secs}:s=48000")
}

/// In which second sound was made, for every fifth of a second of it.
fn seconds(packets: impl IntoIterator<Item = bytes::Bytes>) -> Vec<i32> {
    let mut decoder = Decoder::new(0).unwrap();
    let packets: Vec<_> = packets.into_iter().collect();
    let parts = packets.chunks_exact(10).map(|part| {
        let (mut n_crossings, mut last) = (0, 0.0_f32);
        for packet in part {
            for sample in decoder.decode(packet).unwrap().iter().step_by(2) {
                n_crossings += i32::from(last.is_sign_negative() != sample.is_sign_negative());
                last = *sample;
            }
        }
        // Two a period, in a fifth of a second.
        (n_crossings * 5 / 2 - 350).div_euclid(100)
    });
    parts.collect()
}

/// Answers every connection on a thread of its own, until the test ends.
pub(crate) fn serve(
    answer: impl Fn(TcpStream, &[String]) -> std::io::Result<()> + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || {
                let lines = BufReader::new(connection.try_clone().unwrap()).lines().map_while(Result::ok);
                let lines: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
                // A client that goes away early is no failure of the server.
                drop(answer(connection, &lines));
            });
        }
    });
    address
}

/// What a station sends at once, so that its listeners need not wait.
const BURST: Duration = Duration::from_secs(1);

/// A station that began to send at `began`, or with the first listener.
fn station(sound: Vec<u8>, bytes_per_sec: usize) -> (String, Arc<std::sync::OnceLock<Instant>>) {
    let began = Arc::new(std::sync::OnceLock::new());
    let clock = Arc::clone(&began);
    let address = serve(move |mut connection, _| {
        write!(connection, "HTTP/1.1 200 OK\r\nicy-name: a station\r\nContent-Type: audio/mpeg\r\n\r\n")?;
        let began = *clock.get_or_init(now);
        let mut sent = 0;
        while sent < sound.len() {
            let due = (began.elapsed() + BURST).as_millis() as usize * bytes_per_sec / 1000;
            connection.write_all(&sound[sent..due.min(sound.len())])?;
            sent = due;
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Ok(())
    });
    (address, began)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_pause_one_hears_what_a_station_sends_now() {
    let _alone = crate::realtime_async().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("station.mp3");
    ffmpeg(&["-f", "lavfi", "-i", &tone(20), "-b:a", "128k"], &path);
    let (address, began) = station(std::fs::read(&path).unwrap(), 16_000);
    let mut options = ReaderOptions::default();
    options.source.latency = Duration::from_secs(1);

    let player = Player::start(PlayerOptions::default());
    let mut ears = player.listen().await;
    // There is no other place than the present, whatever is asked for.
    let item = Item::file_with(&address, options).start_at(MediaTime::from_secs(3600));
    player.enqueue(item).await.unwrap();
    let (mut paused, mut resumed, mut heard) = (None, None, Vec::new());
    let mut n_heard = 0;
    while let Some(shared) = ears.recv().await {
        n_heard += usize::from(shared.item.is_some());
        match (paused, resumed) {
            (None, _) if n_heard == 100 => {
                assert!(
                    player.status().borrow().position < MediaTime::from_secs(5),
                    "it was opened as it is"
                );
                player.pause().await.unwrap();
                paused = Some(now());
            }
            (Some(at), None) if at.elapsed() >= Duration::from_secs(5) => {
                player.resume().await.unwrap();
                resumed = Some(());
            }
            _ => {}
        }
        if resumed.is_some() && (shared.item.is_some() || !heard.is_empty()) {
            heard.push(shared);
        }
        if heard.len() == 150 {
            break;
        }
    }
    player.close().await;

    let began = *began.get().unwrap();
    assert!(heard.iter().all(|shared| shared.item.is_some()), "there is no hole");
    assert!(heard.windows(2).all(|two| two[1].at - two[0].at == SOUND));
    let made = seconds(heard.iter().map(|shared| shared.frame.data.clone()));
    let ages: Vec<f64> = made
        .iter()
        .zip(heard.chunks_exact(10))
        .map(|(made, part)| (part[0].due - began + BURST).as_secs_f64() - f64::from(*made))
        .collect();
    // What was read ahead is of before the pause; the rest is of now: a second that is wanted, one that is
    // borne, one that is read ahead, and up to one because the tone tells whole ones.
    assert!(ages[7..].iter().all(|age| *age < 4.2), "{ages:?}");
    let n_old = ages.iter().filter(|age| **age >= 4.2).count();
    assert!((1..=6).contains(&n_old), "{n_old} fifths of a second are old: {ages:?}");
}

#[test]
fn of_a_station_the_beginning_is_probed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("station.mp3");
    ffmpeg(&["-f", "lavfi", "-i", &tone(60), "-b:a", "128k"], &path);
    // So fast that nobody has to wait for ten seconds.
    let (address, _) = station(std::fs::read(&path).unwrap(), 100 * 16_000);
    let probe = Probe::of(&address).unwrap();
    assert!((9_900..=10_100).contains(&probe.duration_ms), "{} ms", probe.duration_ms);
}

#[test]
fn a_station_that_hangs_up_has_failed_and_has_no_speed_but_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("station.mp3");
    ffmpeg(&["-f", "lavfi", "-i", &tone(2), "-b:a", "128k"], &path);
    let whole = std::fs::read(&path).unwrap();
    // Behind a whole frame, and in the middle of one.
    for left_out in [0, 100] {
        let (address, _) = station(whole[..whole.len() - left_out].to_vec(), 16_000);
        let mut reader = Reader::open(&address, ReaderOptions::default()).unwrap();
        assert_eq!(reader.set_speed(150).percent, 100);
        let error = loop {
            match reader.next_frame() {
                Ok(Some(_)) => {}
                end => break end.unwrap_err(),
            }
        };
        assert!(matches!(error, MediaError::Demux(DemuxError::HungUp)), "{error}");
    }
}

/// Serves a playlist to which a segment is added every second, and the segments.
fn growing(dir: &Path, n_segments: usize, n_at_first: usize) -> (String, Arc<AtomicUsize>) {
    let (dir, began) = (dir.to_owned(), now());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let address = serve(move |mut connection, lines| {
        let name = lines[0].split_whitespace().nth(1).unwrap_or_default().trim_start_matches('/');
        let has = |start: &str| lines.iter().any(|line| line.to_ascii_lowercase().starts_with(start));
        let bytes = if name == "live.m3u8" {
            count.fetch_add(usize::from(has("user-agent: telecast/")), Ordering::Relaxed);
            let n = (n_at_first + began.elapsed().as_secs() as usize).min(n_segments);
            let list: String = (0..n).map(|nth| format!("#EXTINF:1.0,\ns{nth}.ts\n")).collect();
            let end = if n == n_segments { "#EXT-X-ENDLIST\n" } else { "" };
            format!(
                "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n{list}{end}"
            )
            .into_bytes()
        } else {
            std::fs::read(dir.join(name))?
        };
        let len = bytes.len();
        if has("range: bytes=0-") {
            write!(
                connection,
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-{}/{len}\r\n",
                len - 1
            )?;
        } else {
            write!(connection, "HTTP/1.1 200 OK\r\n")?;
        }
        write!(connection, "Content-Length: {len}\r\nConnection: close\r\n\r\n")?;
        connection.write_all(&bytes)
    });
    (format!("{address}/live.m3u8"), asked)
}

#[test]
fn a_playlist_that_grows_is_played_without_a_cut() {
    const SECS: usize = 8;
    let dir = tempfile::tempdir().unwrap();
    let segments = dir.path().join("s%d.ts");
    let picture = ["-f", "lavfi", "-i", &format!("testsrc=size=160x120:rate=25:duration={SECS}")];
    let codecs = ["-c:v", "libx264", "-g", "25", "-sc_threshold", "0", "-pix_fmt", "yuv420p", "-c:a", "aac"];
    let pieces = ["-f", "hls", "-hls_time", "1", "-hls_list_size", "0", "-hls_segment_filename"];
    let sound = ["-f", "lavfi", "-i", &tone(SECS as u32)];
    let named = [segments.to_str().unwrap()];
    ffmpeg(&[&picture[..], &sound, &codecs, &pieces, &named].concat(), &dir.path().join("all.m3u8"));
    let (address, asked) = growing(dir.path(), SECS, 3);

    let mut options = ReaderOptions::default();
    options.source.latency = Duration::from_secs(1);
    let mut reader = Reader::open(&address, options).unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 2, "once as a file, and once as a whole playlist");
    assert_eq!(reader.duration(), None);
    let frames: Vec<_> = std::iter::from_fn(|| reader.next_frame().unwrap()).collect();
    let of = |kind| frames.iter().filter(move |frame| frame.kind == kind);
    assert!(of(MediaKind::Audio).zip(of(MediaKind::Audio).skip(1)).all(|(a, b)| b.pts - a.pts == SOUND));
    let n_pictures = of(MediaKind::Video).count();
    assert!(n_pictures.abs_diff(SECS * 25) <= 1, "{n_pictures} pictures");
    let made = seconds(of(MediaKind::Audio).map(|frame| frame.data.clone()));
    // Where two tones meet, neither is heard.
    let clear = made.chunk_by(|a, b| a == b).filter(|run| run.len() > 1).map(|run| run[0]);
    assert_eq!(clear.collect::<Vec<_>>(), (0..SECS as i32).collect::<Vec<_>>(), "{made:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn an_address_at_which_nobody_sends_is_given_up() {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("udp://127.0.0.1:{port}");
    let mut options = ReaderOptions::default();
    options.source.patience = Duration::from_millis(200);
    let error = Reader::open(&address, options).unwrap_err();
    assert!(matches!(error, MediaError::Demux(DemuxError::Silent { .. })), "{error}");
    assert!(error.to_string().contains(&address) && error.to_string().contains("see whether"), "{error}");
}

/// FFmpeg as a server of the clip, for one client and in real time.
#[cfg(all(target_os = "linux", feature = "cli", feature = "openh264"))]
struct Server(std::process::Child);

#[cfg(all(target_os = "linux", feature = "cli", feature = "openh264"))]
impl Server {
    fn start(container: &str, words: &[&str], address: &str) -> Self {
        let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/media/clip.mp4");
        let mut command = std::process::Command::new("ffmpeg");
        command.args(["-v", "fatal", "-nostdin", "-re", "-i", clip, "-c", "copy", "-f", container]);
        let child = command.args(words).arg(address).spawn().expect("ffmpeg is there");
        Self(child)
    }
}

#[cfg(all(target_os = "linux", feature = "cli", feature = "openh264"))]
impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already is as good.
        drop(self.0.kill());
        self.0.wait().expect("it is our child");
    }
}

#[cfg(all(target_os = "linux", feature = "cli", feature = "openh264"))]
#[test]
fn who_serves_rtmp_or_srt_is_asked_once_and_arrives_whole() {
    let _alone = crate::realtime();
    for (protocol, container, words, query) in
        [("rtmp", "flv", &["-listen", "1"][..], "/live/clip"), ("srt", "mpegts", &[][..], "?mode=listener")]
    {
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("{protocol}://127.0.0.1:{port}");
        let _server = Server::start(container, words, &format!("{address}{query}"));
        // The kernel's list of those who listen; one who connects to see would be the one client.
        let list = if protocol == "rtmp" { "/proc/net/tcp" } else { "/proc/net/udp" };
        let entry = format!("0100007F:{port:04X} 00000000:0000");
        let began = now();
        while !std::fs::read_to_string(list).unwrap().contains(&entry) {
            assert!(began.elapsed() < Duration::from_secs(10), "{address} does not come up");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        let source = if protocol == "rtmp" { format!("{address}{query}") } else { address.clone() };
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_telecast"))
            .args(["demo", &source, "--headless", "--json", "--for", "5s"])
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{source}: {} {error}", String::from_utf8_lossy(&output.stdout));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["video"]["frame_numbers_missing"], 0, "{source}: {report:#}");
        assert!(
            (report["audio"]["dominant_hz"].as_f64().unwrap() - 440.0).abs() < 2.0,
            "{source}: {report:#}"
        );
    }
}
