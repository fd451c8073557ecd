//! The watcher decodes and measures what a participant streams through the emulator.

use std::path::Path;
use std::time::Duration;

use telecast::call::signaling::ChatId;
use telecast::emulator::measure::{Report, Verdict, Wanted};
use telecast::emulator::watcher::{DtlsRole, WatchOptions};
use telecast::emulator::{Emulator, EmulatorOptions, JoinRequest, Weather};

use crate::publisher::Publisher;
use crate::realtime_async;

const BOTH: Wanted = Wanted { video: true, audio: true };

/// Streams a clip under `weather` until so many packets of sound were sent, and reports what a
/// watcher saw and heard of it.
async fn watch(weather: Option<&str>, dtls: DtlsRole, n_packets: u64) -> Report {
    let _alone = realtime_async().await;
    let weather = weather.map(|text| Weather::parse(text).unwrap());
    let emulator = Emulator::start(EmulatorOptions { weather, ..EmulatorOptions::default() }).await.unwrap();
    let chat = ChatId("demo".into());
    let watcher = emulator.watch(&chat, WatchOptions { of: Some("clip".into()), dtls }).await.unwrap();
    let mut publisher = Publisher::new().unwrap();
    let request = JoinRequest {
        chat: chat.0,
        name: "clip".into(),
        params: publisher.params(),
        ..JoinRequest::default()
    };
    let joined = emulator.join_raw(request).await.unwrap();
    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("media/clip.mkv");
    let playing = publisher.play(&joined.params, &clip).unwrap();

    let mut looks = tokio::time::interval(Duration::from_millis(100));
    let report = tokio::time::timeout(Duration::from_secs(15), async {
        loop {
            looks.tick().await;
            let report = watcher.report(BOTH).await.unwrap();
            let n_seen = report.audio.as_ref().map_or(0, |audio| audio.packets + audio.concealed_ms / 20);
            if n_seen >= n_packets {
                return report;
            }
        }
    });
    let report = report.await.expect("the stream arrives");
    playing.stop().unwrap();
    watcher.stop().await.unwrap();
    emulator.shutdown().await;
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clip_arrives_whole_and_in_sync() {
    let report = watch(None, DtlsRole::Client, 300).await;
    assert_eq!(report.verdict, Verdict::Ok, "{report:#?}");
    let video = report.video.unwrap();
    assert_eq!(
        (video.width, video.height, video.freezes, video.frame_numbers_missing),
        (1280, 720, 0, Some(0))
    );
    assert_eq!((report.packets_lost, report.packets_repaired), (0, 0));
    let skew = report.av_skew_ms.expect("several seconds have passed");
    assert!(skew.median.abs() < 5.0 && skew.max.abs() < 20.0, "{skew:?}");
    assert!((1..5000).contains(&report.join_ms), "{}", report.join_ms);
}

#[tokio::test(flavor = "multi_thread")]
async fn repair_hides_the_loss_of_pictures() {
    let report = watch(Some("loss=5%,delay=20ms,seed=7"), DtlsRole::Server, 250).await;
    let video = report.video.unwrap();
    assert!(report.packets_lost >= 20, "{}", report.packets_lost);
    assert!(report.packets_repaired * 2 > report.packets_lost, "sound is not repaired, pictures are");
    assert!(video.frame_numbers_missing.unwrap() * 100 <= video.frames_decoded, "{video:?}");
    assert!(report.audio.unwrap().concealed_ms > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn heavy_loss_without_repair_is_called_bad() {
    let report = watch(Some("loss=30%,repair=off,seed=3"), DtlsRole::Client, 250).await;
    assert_eq!(report.verdict, Verdict::Bad);
    assert!(report.packets_lost > 100 && report.packets_repaired == 0, "{report:#?}");
    assert!(!report.reasons.is_empty());
}
