// The viewer page: joins the chat as a browser, shows a tile for each participant, plays their
// sound and shows what getStats says of it.
//
//   POST /viewer/join ──► SDP answer ──► RTCPeerConnection ──► tracks (by mid)
//   data channel ──► Slots: which mids show whom ──► tiles
//   getStats, once a second ──► panel, window.telecastStats()
"use strict";

// How many participants fit on the page; the server fills the slots as they begin to send.
const N_SLOTS = 8;
const SAMPLE_INTERVAL_MS = 1000;
const LEVEL_INTERVAL_MS = 100;
const PARTICIPANTS_INTERVAL_MS = 2000;
// A join that has led to no connection after this time is tried again.
const CONNECT_TIMEOUT_MS = 8000;
// "disconnected" often heals by itself; the server's end never does.
const DISCONNECTED_PATIENCE_MS = 2500;
const RETRY_MS = [500, 1000, 2000, 3000];
// Louder than this is speech or music, not a quiet room. Linear, 0 to 1.
const SPEAKING_LEVEL = 0.01;
const SPEAKING_HOLD_MS = 600;
// Pictures that stopped coming for so long are marked as stalled.
const STALL_MS = 1500;
const HISTORY = 60;

const query = new URLSearchParams(location.search);
const chat = query.get("chat") || "demo";
const $ = (id) => document.getElementById(id);

let session = null;
let attempt = 0;
let retryTimer = null;
let soundOn = true;
let rows = new Map(); // name → row of the participant list

// ---------------------------------------------------------------------------------- connection

class Session {
  constructor() {
    this.closed = false;
    this.tiles = new Map(); // slot → Tile
    this.tracks = new Map(); // mid → MediaStreamTrack
    this.receivers = new Map(); // mid → RTCRtpReceiver
    this.slots = [];
    this.sample = null; // the latest of takeSample()
    this.pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    this.pc.ontrack = ({ track, transceiver }) => {
      this.tracks.set(transceiver.mid, track);
      this.receivers.set(transceiver.mid, transceiver.receiver);
      this.arrange();
    };
    this.pc.onconnectionstatechange = () => this.onState(this.pc.connectionState);
    this.channel = this.pc.createDataChannel("data");
    this.channel.onmessage = ({ data }) => this.onMessage(data);
    for (let slot = 0; slot < N_SLOTS; slot += 1) {
      this.pc.addTransceiver("audio", { direction: "recvonly" });
      this.pc.addTransceiver("video", { direction: "recvonly" });
    }
    this.timers = [
      setInterval(() => this.takeSample().catch(console.warn), SAMPLE_INTERVAL_MS),
      setInterval(() => this.showLevels(), LEVEL_INTERVAL_MS),
    ];
  }

  async join() {
    await this.pc.setLocalDescription(await this.pc.createOffer());
    this.giveUp = setTimeout(() => this.lose("no connection"), CONNECT_TIMEOUT_MS);
    const response = await fetch("/viewer/join", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ chat, sdp: this.pc.localDescription.sdp }),
    });
    if (!response.ok) throw new Error(`the server answered ${response.status}: ${await response.text()}`);
    const answer = await response.json();
    if (this.closed) return;
    await this.pc.setRemoteDescription({ type: "answer", sdp: syncTracks(answer.sdp) });
  }

  onState(state) {
    clearTimeout(this.patience);
    if (state === "connected") {
      clearTimeout(this.giveUp);
      attempt = 0;
      showState("connected", "connected");
    } else if (state === "disconnected") {
      showState("lost", "connection lost");
      this.patience = setTimeout(() => this.lose("disconnected"), DISCONNECTED_PATIENCE_MS);
    } else if (state === "failed" || state === "closed") {
      this.lose(state);
    }
  }

  onMessage(data) {
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return;
    }
    if (message.colibriClass !== "Slots" || !Array.isArray(message.slots)) return;
    this.slots = message.slots;
    this.arrange();
  }

  // Makes the tiles those of the slots.
  arrange() {
    for (const [slot, tile] of this.tiles) {
      const now = this.slots.find((s) => s.slot === slot);
      if (!now || now.name !== tile.name) {
        tile.remove();
        this.tiles.delete(slot);
      }
    }
    for (const { slot, name, audio_mid: audioMid, video_mid: videoMid } of this.slots) {
      if (!this.tiles.has(slot)) this.tiles.set(slot, new Tile(slot, name));
      this.tiles.get(slot).setTracks(audioMid, this.tracks.get(audioMid), videoMid, this.tracks.get(videoMid));
    }
    layOut();
  }

  lose(reason) {
    if (this.closed || session !== this) return;
    console.info("connection lost:", reason);
    this.close();
    session = null;
    showState("lost", "reconnecting");
    retry();
  }

  close() {
    this.closed = true;
    clearTimeout(this.giveUp);
    clearTimeout(this.patience);
    this.timers.forEach(clearInterval);
    this.tiles.forEach((tile) => tile.remove());
    this.tiles.clear();
    this.pc.onconnectionstatechange = null;
    this.pc.close();
    layOut();
    renderPanel(null);
  }

  showLevels() {
    const now = performance.now();
    for (const tile of this.tiles.values()) tile.showLevel(this.receivers.get(tile.audioMid), now);
  }

  async takeSample() {
    const sample = await sampleStats(this, this.sample);
    if (this.closed) return null;
    this.sample = sample;
    for (const participant of sample.participants) {
      const tile = this.tiles.get(participant.slot);
      if (tile) tile.showNumbers(participant);
    }
    renderPanel(sample);
    return sample;
  }
}

// One stream id for the sound and the pictures of a slot: browsers keep lips in sync within a
// stream only.
function syncTracks(sdp) {
  const count = { audio: 0, video: 0 };
  const sections = sdp.split(/(?=^m=)/m);
  return sections
    .map((section) => {
      const kind = /^m=(audio|video) /.exec(section)?.[1];
      if (!kind) return section;
      const slot = count[kind]++;
      const stream = `slot-${slot} ${kind}-${slot}`;
      return section.replace(/^a=msid:.*$/gm, `a=msid:${stream}`).replace(/^(a=ssrc:\d+ msid:).*$/gm, `$1${stream}`);
    })
    .join("");
}

async function connect() {
  retryTimer = null;
  showState("connecting", attempt ? "reconnecting" : "connecting");
  const mine = new Session();
  session = mine;
  try {
    await mine.join();
  } catch (error) {
    mine.lose(String(error));
  }
}

function retry() {
  if (retryTimer) return;
  const delay = RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)];
  attempt += 1;
  retryTimer = setTimeout(connect, delay);
}

async function refreshParticipants() {
  try {
    const response = await fetch(`/participants?chat=${encodeURIComponent(chat)}`);
    if (!response.ok) return;
    const page = await response.json();
    rows = new Map((page.participants || []).map((row) => [row.peer, row]));
    session?.tiles.forEach((tile) => tile.showRow(rows.get(tile.name)));
    $("empty-text").textContent = rows.size
      ? "Connected. Waiting for the first picture or sound"
      : "Waiting for somebody to stream";
  } catch {
    // The connection itself notices that the server is gone.
  }
}

// --------------------------------------------------------------------------------------- tiles

class Tile {
  constructor(slot, name) {
    this.slot = slot;
    this.name = name;
    this.level = 0;
    this.decodedLevel = 0;
    this.speakingUntil = 0;
    this.lastFrame = performance.now();
    this.history = { bitrate: [], fps: [] };
    this.root = document.createElement("article");
    this.root.className = "tile";
    this.root.style.setProperty("--hue", hueOf(name));
    this.root.setAttribute("aria-label", name);
    this.root.innerHTML = `
      <div class="face" aria-hidden="true"><span></span></div>
      <video autoplay playsinline></video>
      <div class="stalled-note">picture stalled</div>
      <div class="plate">
        <div class="meter" aria-hidden="true"><i></i><i></i><i></i></div>
        <svg class="mark-muted" viewBox="0 0 24 24" aria-label="muted"><path d="M9 5a3 3 0 0 1 6 0v6m-6-1v1a3 3 0 0 0 4.6 2.5M5.5 11a6.5 6.5 0 0 0 10.6 5M18.5 11c0 .8-.1 1.5-.4 2.2M12 17.5V21M4 3l16 18" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round"/></svg>
        <b></b><small></small>
      </div>`;
    this.video = this.root.querySelector("video");
    this.bars = [...this.root.querySelectorAll(".meter i")];
    this.numbers = this.root.querySelector("small");
    this.root.querySelector("b").textContent = name;
    this.root.querySelector(".face span").textContent = [...name][0]?.toUpperCase() ?? "?";
    this.video.onresize = () => this.showPicture();
    this.video.onloadeddata = () => this.showPicture();
    this.showRow(rows.get(name));
    $("tiles").append(this.root);
  }

  setTracks(audioMid, audio, videoMid, video) {
    this.audioMid = audioMid;
    this.videoMid = videoMid;
    const tracks = [audio, video].filter(Boolean);
    const current = this.video.srcObject?.getTracks() ?? [];
    if (tracks.length === current.length && tracks.every((track) => current.includes(track))) return;
    this.video.srcObject = new MediaStream(tracks);
    this.video.muted = !soundOn;
    this.play();
  }

  async play() {
    try {
      await this.video.play();
    } catch (error) {
      if (error.name !== "NotAllowedError" || this.video.muted) return;
      // The browser wants a click before it plays sound. The picture may start now.
      $("unmute").hidden = false;
      this.video.muted = true;
      this.video.play().catch(() => {});
    }
  }

  showPicture() {
    this.root.classList.toggle("seen", this.video.videoWidth > 2);
    layOut();
  }

  showRow(row) {
    this.root.classList.toggle("muted", Boolean(row?.muted));
  }

  // The level of what is being played: the sender's own word (RFC 6464), or, from a sender who
  // says none, that of the decoded sound when it was last looked at.
  showLevel(receiver, now) {
    const source = receiver?.getSynchronizationSources?.()[0];
    const fresh = source && now + performance.timeOrigin - source.timestamp < 500;
    const level = fresh ? source.audioLevel ?? this.decodedLevel : 0;
    this.level = Math.max(level, this.level * 0.7);
    if (level > SPEAKING_LEVEL) this.speakingUntil = now + SPEAKING_HOLD_MS;
    this.speaking = now < this.speakingUntil;
    this.root.classList.toggle("speaking", this.speaking);
    const shown = Math.min(1, Math.sqrt(this.level) * 1.4);
    this.root.style.setProperty("--level", shown.toFixed(2));
    this.bars.forEach((bar, n) => bar.style.setProperty("--h", (shown * [0.65, 1, 0.8][n]).toFixed(2)));
  }

  showNumbers({ video, audio }) {
    const now = performance.now();
    this.decodedLevel = audio?.level ?? 0;
    if (video?.fps > 0) this.lastFrame = now;
    this.root.classList.toggle("stalled", Boolean(video) && this.root.classList.contains("seen") && now - this.lastFrame > STALL_MS);
    this.numbers.textContent = video ? `${video.height}p · ${Math.round(video.fps)} fps` : audio ? "sound only" : "";
    push(this.history.bitrate, (video?.bitrateBps ?? 0) + (audio?.bitrateBps ?? 0));
    push(this.history.fps, video?.fps ?? 0);
  }

  remove() {
    this.video.srcObject = null;
    this.root.remove();
  }
}

function push(list, value) {
  list.push(value);
  if (list.length > HISTORY) list.shift();
}

function hueOf(name) {
  let hash = 7;
  for (const letter of name) hash = (hash * 31 + letter.codePointAt(0)) % 360;
  return hash;
}

// The number of columns that makes 16:9 tiles largest.
function layOut() {
  const tiles = $("tiles");
  const n = tiles.children.length;
  $("empty").hidden = n > 0;
  if (!n) return;
  const { clientWidth: width, clientHeight: height } = tiles;
  const gap = 12;
  let best = { size: 0, columns: 1 };
  for (let columns = 1; columns <= n; columns += 1) {
    const lines = Math.ceil(n / columns);
    const w = Math.min((width - gap * (columns - 1)) / columns, ((height - gap * (lines - 1)) / lines) * (16 / 9));
    if (w > best.size) best = { size: w, columns };
  }
  tiles.style.gridTemplateColumns = `repeat(${best.columns}, ${Math.floor(best.size)}px)`;
  tiles.style.gridAutoRows = `${Math.floor((best.size * 9) / 16)}px`;
}

// ---------------------------------------------------------------------------------- statistics

// One reading of getStats, per participant, with rates since `before`.
async function sampleStats(of, before) {
  const report = await of.pc.getStats();
  const at = performance.now();
  const inbound = new Map();
  let pair = null;
  for (const stat of report.values()) {
    if (stat.type === "inbound-rtp") inbound.set(stat.mid, stat);
    if (stat.type === "transport" && stat.selectedCandidatePairId) pair = report.get(stat.selectedCandidatePairId);
  }
  const participants = of.slots.map(({ slot, name, audio_mid: audioMid, video_mid: videoMid }) => {
    const old = before?.participants.find((p) => p.slot === slot && p.name === name);
    return {
      slot,
      name,
      speaking: Boolean(of.tiles.get(slot)?.speaking),
      audio: audioOf(inbound.get(audioMid), old?.audio, report),
      video: videoOf(inbound.get(videoMid), old?.video, report),
    };
  });
  return {
    at,
    connected: of.pc.connectionState === "connected",
    state: of.pc.connectionState,
    rttMs: pair?.currentRoundTripTime === undefined ? null : pair.currentRoundTripTime * 1000,
    bytesReceived: pair?.bytesReceived ?? 0,
    participants,
  };
}

function common(stat, old, report) {
  const seconds = old ? (stat.timestamp - old.timestamp) / 1000 : 0;
  const rate = (now, then) => (seconds > 0 ? Math.max(0, now - then) / seconds : 0);
  return {
    rate,
    shared: {
      timestamp: stat.timestamp,
      codec: report.get(stat.codecId)?.mimeType?.split("/")[1] ?? null,
      packetsReceived: stat.packetsReceived,
      packetsLost: stat.packetsLost,
      nackCount: stat.nackCount ?? 0,
      retransmittedPacketsReceived: stat.retransmittedPacketsReceived ?? 0,
      jitterMs: (stat.jitter ?? 0) * 1000,
      bufferMs: stat.jitterBufferEmittedCount
        ? (stat.jitterBufferDelay / stat.jitterBufferEmittedCount) * 1000
        : null,
      playoutTimestamp: stat.estimatedPlayoutTimestamp ?? null,
      bytesReceived: stat.bytesReceived,
      bitrateBps: rate(stat.bytesReceived, old?.bytesReceived ?? 0) * 8,
    },
  };
}

function videoOf(stat, old, report) {
  if (!stat?.packetsReceived) return null;
  const { rate, shared } = common(stat, old, report);
  return {
    ...shared,
    width: stat.frameWidth ?? 0,
    height: stat.frameHeight ?? 0,
    framesDecoded: stat.framesDecoded,
    framesDropped: stat.framesDropped,
    keyFramesDecoded: stat.keyFramesDecoded,
    fps: rate(stat.framesDecoded, old?.framesDecoded ?? 0),
    freezeCount: stat.freezeCount ?? 0,
    totalFreezesMs: (stat.totalFreezesDuration ?? 0) * 1000,
    pliCount: stat.pliCount ?? 0,
  };
}

function audioOf(stat, old, report) {
  if (!stat?.packetsReceived) return null;
  const { shared } = common(stat, old, report);
  const received = stat.totalSamplesReceived ?? 0;
  const concealed = stat.concealedSamples ?? 0;
  const newlyReceived = received - (old?.totalSamplesReceived ?? 0);
  return {
    ...shared,
    totalSamplesReceived: received,
    concealedSamples: concealed,
    silentConcealedSamples: stat.silentConcealedSamples ?? 0,
    concealment: received ? concealed / received : 0,
    concealmentNow: newlyReceived > 0 ? (concealed - (old?.concealedSamples ?? 0)) / newlyReceived : 0,
    level: stat.audioLevel ?? 0,
  };
}

// For tests and the console: the numbers of this moment; rates are since the latest second.
window.telecastStats = async () => {
  if (!session) return { connected: false, state: "reconnecting", rttMs: null, bytesReceived: 0, participants: [] };
  return sampleStats(session, session.sample);
};

const kbps = (bps) => (bps >= 1e6 ? `${(bps / 1e6).toFixed(2)} Mbit/s` : `${Math.round(bps / 1e3)} kbit/s`);
const ms = (value, digits = 0) => (value === null || value === undefined ? "–" : `${value.toFixed(digits)} ms`);
const percent = (share) => `${(share * 100).toFixed(share >= 0.1 ? 0 : 2)} %`;
const grade = (value, warn, bad) => (value >= bad ? "bad" : value >= warn ? "warn" : "good");

function renderPanel(sample) {
  const panel = $("panel");
  if (!sample) {
    panel.replaceChildren();
    return;
  }
  const cards = [card("Connection", sample.state, [
    ["Round trip", ms(sample.rttMs, 1)],
    ["Received", `${(sample.bytesReceived / 1e6).toFixed(1)} MB`],
    ["Shown", `${sample.participants.length}`],
  ])];
  for (const { slot, name, video, audio } of sample.participants) {
    const tile = session?.tiles.get(slot);
    const sections = [];
    if (video) {
      sections.push(["Picture", [
        ["Format", `${video.width}×${video.height} ${video.codec ?? ""}`],
        ["Decoded", `${video.fps.toFixed(1)} fps`, grade(30 - video.fps, 2, 6)],
        ["Bitrate", kbps(video.bitrateBps)],
        ["Packets lost", lost(video), grade(video.packetsLost, 1, 50)],
        ["NACK / PLI", `${video.nackCount} / ${video.pliCount}`],
        ["Jitter", ms(video.jitterMs, 1)],
        ["Buffer", ms(video.bufferMs)],
        ["Frames dropped", `${video.framesDropped}`, grade(video.framesDropped, 5, 60)],
        ["Freezes", `${video.freezeCount}`, grade(video.freezeCount, 1, 4)],
      ]]);
    }
    if (audio) {
      sections.push(["Sound", [
        ["Bitrate", `${kbps(audio.bitrateBps)} ${audio.codec ?? ""}`],
        ["Concealed", percent(audio.concealmentNow), grade(audio.concealmentNow, 0.01, 0.05)],
        ["Concealed so far", percent(audio.concealment), grade(audio.concealment, 0.01, 0.05)],
        ["Packets lost", lost(audio), grade(audio.packetsLost, 1, 50)],
        ["Jitter", ms(audio.jitterMs, 1)],
        ["Buffer", ms(audio.bufferMs)],
      ]]);
    }
    cards.push(participantCard(name, sections, tile?.history));
  }
  panel.replaceChildren(...cards);
}

function lost({ packetsLost, retransmittedPacketsReceived }) {
  return retransmittedPacketsReceived ? `${packetsLost} (${retransmittedPacketsReceived} resent)` : `${packetsLost}`;
}

function element(tag, text, className) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
}

function list(pairs) {
  const dl = element("dl");
  for (const [label, value, mark] of pairs) dl.append(element("dt", label), element("dd", value, mark));
  return dl;
}

function card(title, note, pairs) {
  const root = element("section", undefined, "card");
  const heading = element("h2");
  heading.append(element("span", title), element("small", note));
  root.append(heading, list(pairs));
  return root;
}

function participantCard(name, sections, history) {
  const root = element("section", undefined, "card");
  const heading = element("h2");
  heading.append(element("span", name));
  root.append(heading);
  if (history) root.append(chart(history.bitrate));
  for (const [title, pairs] of sections) root.append(element("h3", title), list(pairs));
  return root;
}

// The bitrate of the last minute.
function chart(values) {
  const canvas = element("canvas");
  const [width, height] = [276, 44];
  const scale = window.devicePixelRatio || 1;
  canvas.width = width * scale;
  canvas.height = height * scale;
  canvas.setAttribute("aria-label", "bitrate over the last minute");
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  const top = Math.max(...values, 1) * 1.15;
  const x = (n) => width - (values.length - 1 - n) * (width / (HISTORY - 1));
  const y = (value) => height - 3 - (value / top) * (height - 8);
  context.beginPath();
  values.forEach((value, n) => context.lineTo(x(n), y(value)));
  context.strokeStyle = "#22d3a6";
  context.lineWidth = 1.6;
  context.lineJoin = "round";
  context.stroke();
  if (values.length > 1) {
    context.lineTo(x(values.length - 1), height);
    context.lineTo(x(0), height);
    context.fillStyle = "rgb(34 211 166 / .13)";
    context.fill();
  }
  return canvas;
}

// ------------------------------------------------------------------------------------ controls

function showState(state, text) {
  $("state").dataset.state = state;
  $("state-text").textContent = text;
}

function setSound(on) {
  soundOn = on;
  $("sound").setAttribute("aria-pressed", String(on));
  $("unmute").hidden = true;
  session?.tiles.forEach((tile) => {
    tile.video.muted = !on;
    tile.play();
  });
}

function setPanel(shown) {
  document.body.classList.toggle("quiet", !shown);
  $("numbers").setAttribute("aria-pressed", String(shown));
  layOut();
}

$("chat").textContent = chat;
document.title = `${chat} · telecast`;
$("unmute").onclick = () => setSound(true);
$("sound").onclick = () => setSound(!soundOn || !$("unmute").hidden);
$("numbers").onclick = () => setPanel(document.body.classList.contains("quiet"));
addEventListener("keydown", ({ key, target, ctrlKey, metaKey, altKey }) => {
  if (target.closest("button") || ctrlKey || metaKey || altKey) return;
  if (key === "m") $("sound").click();
  if (key === "s") $("numbers").click();
});
addEventListener("pagehide", () => session?.close());
new ResizeObserver(layOut).observe($("tiles"));
setPanel(query.get("stats") !== "off");
setInterval(refreshParticipants, PARTICIPANTS_INTERVAL_MS);
refreshParticipants();
connect();
