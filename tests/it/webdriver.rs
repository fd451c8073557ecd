//! A headless Chromium, driven by chromedriver's HTTP interface (W3C WebDriver).

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// Pictures and sound without a screen, a sound card, a click or the outside world.
const CHROMIUM_ARGS: [&str; 10] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--allow-loopback-in-peer-connection",
    "--autoplay-policy=no-user-gesture-required",
];

/// A browser on a busy machine may take this long to start or to paint.
const TIMEOUT: Duration = Duration::from_secs(60);

const REMEDY: &str = "install it with `apt-get install chromium chromium-driver` (`make test` does)";

/// One browser with one window; both end with this value.
pub(crate) struct Browser {
    driver: Child,
    agent: ureq::Agent,
    /// `http://127.0.0.1:port/session/id`
    session: String,
    _profile: tempfile::TempDir,
}

/// A screenshot in shades of gray.
pub(crate) struct Screenshot {
    pub(crate) luma: Vec<u8>,
    pub(crate) width: usize,
    pub(crate) height: usize,
}

impl Browser {
    /// Starts chromedriver on a free port, and a window of the given size.
    pub(crate) fn start(width: u32, height: u32) -> Result<Self> {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run chromedriver: {REMEDY}"))?;
        let stdout = driver.stdout.take().expect("is piped");
        let profile = tempfile::tempdir()?;
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(TIMEOUT));
        let agent: ureq::Agent = config.build().into();
        let mut browser = Self { driver, agent, session: String::new(), _profile: profile };

        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let port: u16 = lines
            .find_map(|line| {
                line.split_once("started successfully on port ")?.1.trim_end_matches('.').parse().ok()
            })
            .context("chromedriver does not say on which port it listens")?;
        // It goes on talking: an unread pipe would stop it, a closed one would end it.
        std::thread::spawn(move || lines.for_each(drop));

        let mut args: Vec<String> = CHROMIUM_ARGS.map(str::to_owned).to_vec();
        args.push(format!("--user-data-dir={}", browser._profile.path().display()));
        args.push(format!("--window-size={width},{height}"));
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": args },
        }}});
        let base = format!("http://127.0.0.1:{port}/session");
        let session = browser.post(&base, &wanted).with_context(|| format!("no Chromium: {REMEDY}"))?;
        let id = session["sessionId"].as_str().context("a session without an id")?;
        browser.session = format!("{base}/{id}");
        // The window has borders, the page has not.
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        browser.command(
            "goog/cdp/execute",
            &json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": size }),
        )?;
        Ok(browser)
    }

    /// Goes to `url` and waits until it is loaded.
    pub(crate) fn open(&self, url: &str) -> Result<()> {
        self.command("url", &json!({ "url": url })).map(drop)
    }

    /// Runs JavaScript and returns what it returns; a promise is waited for.
    pub(crate) fn run(&self, script: &str) -> Result<Value> {
        self.command("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits in the page.
    pub(crate) fn wait(&self, time: Duration) -> Result<()> {
        self.run(&format!("return new Promise((done) => setTimeout(done, {}))", time.as_millis())).map(drop)
    }

    /// Waits until a JavaScript expression is true, looking ten times a second.
    pub(crate) fn wait_until(&self, condition: &str, limit: Duration) -> Result<()> {
        let script = format!(
            "const end = performance.now() + {};
             while (!({condition})) {{
               if (performance.now() > end) return false;
               await new Promise((again) => setTimeout(again, 100));
             }}
             return true;",
            limit.as_millis()
        );
        match self.run(&format!("return (async () => {{ {script} }})()"))? {
            Value::Bool(true) => Ok(()),
            _ => bail!(
                "not true within {} s: {condition}; {}",
                limit.as_secs(),
                self.run("return telecastStats()")?
            ),
        }
    }

    /// What the window shows.
    pub(crate) fn screenshot(&self) -> Result<Screenshot> {
        let url = format!("{}/screenshot", self.session);
        let mut response = self.agent.get(&url).call()?;
        let answer: Value = response.body_mut().read_json()?;
        let encoded = answer["value"].as_str().context("no screenshot")?;
        Screenshot::from_png(&from_base64(encoded).context("the screenshot is not base64")?)
    }

    fn command(&self, name: &str, body: &Value) -> Result<Value> {
        self.post(&format!("{}/{name}", self.session), body)
    }

    fn post(&self, url: &str, body: &Value) -> Result<Value> {
        let mut response = self.agent.post(url).send_json(body)?;
        let mut answer: Value = response.body_mut().read_json()?;
        let value = answer["value"].take();
        match value["error"].as_str() {
            Some(error) => bail!("{error}: {}", value["message"].as_str().unwrap_or_default()),
            None => Ok(value),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // Ends Chromium. When that fails, ending the driver ends it.
            let _ = self.agent.delete(&self.session).call();
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl Screenshot {
    fn from_png(bytes: &[u8]) -> Result<Self> {
        let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info()?;
        let mut pixels = vec![0; reader.output_buffer_size().context("the picture is too large")?];
        let info = reader.next_frame(&mut pixels)?;
        let n_channels = info.color_type.samples();
        let luma = pixels[..info.buffer_size()]
            .chunks_exact(n_channels)
            .map(|pixel| match *pixel {
                [red, green, blue, ..] => {
                    let sum = 299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue);
                    u8::try_from(sum / 1000).expect("a weighted mean of bytes")
                }
                [gray, ..] => gray,
                [] => 0,
            })
            .collect();
        Ok(Self { luma, width: info.width as usize, height: info.height as usize })
    }
}

/// RFC 4648 §4; `None` for anything else.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut n_bits) = (0_u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        n_bits += 6;
        if n_bits >= 8 {
            n_bits -= 8;
            bytes.push((bits >> n_bits & 0xFF) as u8);
        }
    }
    Some(bytes)
}
