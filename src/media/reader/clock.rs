//! The first packets of an item → where its clock starts and how long it is.

use super::pictures;
use crate::media::codec::opus::FRAME;
use crate::media::demux::{self, Packet, Track};
use crate::media::plan::{Plan, Selection};
use crate::time::MediaTime;

/// Where the item's clock starts: with the first sound or picture, and, for sound that is
/// copied, a whole number of packets before it.
pub(super) fn origin_of(
    plan: &Plan,
    selection: Selection,
    tracks: &[Track],
    packets: &[Packet],
) -> MediaTime {
    debug_assert!(
        plan.audio.played_track().is_none_or(|track| Some(track) == selection.audio),
        "the plan plays what was selected"
    );
    let first_sound = first_sound(plan, tracks, packets);
    let first_picture = first_picture(plan, packets);
    let heard = first_sound.map(|(pts, skipped)| pts + skipped);
    let origin = heard.into_iter().chain(first_picture).min().unwrap_or(MediaTime::ZERO);
    match first_sound {
        Some((pts, _)) if plan.audio.is_copy() => pts + (origin - pts).floor_to(FRAME),
        _ => origin,
    }
}

/// The first packet that anything of is heard, and how much of it is thrown away.
fn first_sound(plan: &Plan, tracks: &[Track], packets: &[Packet]) -> Option<(MediaTime, MediaTime)> {
    let index = plan.audio.played_track()?;
    let demux::Shape::Audio { sample_rate, .. } = tracks[index].shape else { return None };
    packets.iter().filter(|packet| packet.track == index).find_map(|packet| {
        let skipped = MediaTime::from_ticks(i64::from(packet.trim_start), sample_rate);
        let heard = packet.duration == MediaTime::ZERO || skipped < packet.duration;
        heard.then_some((packet.pts, skipped))
    })
}

fn first_picture(plan: &Plan, packets: &[Packet]) -> Option<MediaTime> {
    let index = plan.video.played_track()?;
    let pictures = packets.iter().filter(|packet| packet.track == index);
    if plan.video.is_copy() {
        let first_key = pictures.clone().find(|packet| packet.key)?;
        return Some(pictures::shown_at(first_key.pts));
    }
    // A decoder shows the first one in order, and hides what lies before zero.
    let decoded = pictures.skip_while(|packet| !packet.key);
    decoded.map(|packet| packet.pts).filter(|pts| *pts >= MediaTime::ZERO).min()
}

/// The end of the longest track that is played.
pub(super) fn duration_of(
    plan: &Plan,
    tracks: &[Track],
    packets: &[Packet],
    origin: MediaTime,
) -> Option<MediaTime> {
    let starts = [
        first_sound(plan, tracks, packets).map(|(pts, skipped)| pts + skipped),
        first_picture(plan, packets),
    ];
    let played = [plan.audio.played_track(), plan.video.played_track()];
    let ends = played.into_iter().zip(starts).filter_map(|(index, start)| {
        let duration = tracks[index?].duration?;
        Some(start.unwrap_or(origin).max(MediaTime::ZERO) + duration - origin)
    });
    ends.max()
}
