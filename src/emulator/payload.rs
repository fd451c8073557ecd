//! The `params` of a join → what the server needs of them. Lenient, as Telegram is: unknown keys
//! are ignored, SSRCs may be signed or unsigned, `ssrc-groups` may be absent or empty.

use serde_json::Value;

use super::rpc::RpcError;
use crate::call::signaling::SourceGroup;
use crate::secret::Secret;

/// Longer parameters are refused before they are parsed. Real ones have less than 2 KiB.
const MAX_PARAMS_BYTES: usize = 64 * 1024;

/// More groups than three layers, their FID pairs and a screen would need.
const MAX_GROUPS: usize = 16;

/// The largest simulcast group that any client makes is 3.
const MAX_GROUP_SOURCES: usize = 8;

/// Who sends the ClientHello, from the point of view of the one who wrote the JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setup {
    /// "I am the DTLS client."
    Active,
    /// "I am the DTLS server."
    Passive,
}

/// One encoding of a camera, lowest resolution first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    pub(super) ssrc: u32,
    pub(super) rtx: Option<u32>,
}

/// A join payload that the server can work with.
#[derive(Clone, Debug)]
pub(super) struct JoinPayload {
    pub(super) ssrc: u32,
    pub(super) ufrag: String,
    pub(super) pwd: Secret<String>,
    pub(super) setup: Setup,
    pub(super) fingerprint: Vec<u8>,
    pub(super) groups: Vec<SourceGroup>,
    pub(super) layers: Vec<Layer>,
}

impl JoinPayload {
    /// Reads the JSON that stands in `dataJSON.data`.
    pub(super) fn parse(params: &str) -> Result<Self, RpcError> {
        if params.len() > MAX_PARAMS_BYTES {
            return Err(RpcError::data_json_invalid());
        }
        let json: Value = serde_json::from_str(params).map_err(|_| RpcError::data_json_invalid())?;
        let object = json.as_object().ok_or_else(RpcError::data_json_invalid)?;

        // A payload without an SSRC gets the error of a duplicate one, as on the real server.
        let ssrc = object.get("ssrc").and_then(ssrc_of).ok_or_else(RpcError::ssrc_duplicate)?;
        let text =
            |key: &str| object.get(key).and_then(Value::as_str).filter(|s| is_ice_text(s)).map(str::to_owned);
        let ufrag = text("ufrag").ok_or_else(RpcError::data_json_invalid)?;
        let pwd = text("pwd").ok_or_else(RpcError::data_json_invalid)?;
        let (setup, fingerprint) =
            object.get("fingerprints").and_then(read_fingerprint).ok_or_else(RpcError::data_json_invalid)?;
        let groups = match object.get("ssrc-groups") {
            None | Some(Value::Null) => Vec::new(),
            Some(groups) => read_groups(groups).ok_or_else(RpcError::data_json_invalid)?,
        };
        let layers = layers_of(&groups);

        let payload = Self { ssrc, ufrag, pwd: Secret::new(pwd), setup, fingerprint, groups, layers };
        let mut ssrcs: Vec<u32> = payload.ssrcs().collect();
        ssrcs.sort_unstable();
        if ssrcs.contains(&0) || ssrcs.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(RpcError::ssrc_duplicate());
        }
        Ok(payload)
    }

    /// Every SSRC that this participant sends on.
    pub(super) fn ssrcs(&self) -> impl Iterator<Item = u32> + '_ {
        let video = self.layers.iter().flat_map(|layer| std::iter::once(layer.ssrc).chain(layer.rtx));
        std::iter::once(self.ssrc).chain(video)
    }
}

/// `[{hash, fingerprint, setup}]`: the first sha-256 entry.
fn read_fingerprint(list: &Value) -> Option<(Setup, Vec<u8>)> {
    list.as_array()?.iter().find_map(|entry| {
        let text = |key: &str| entry.get(key).and_then(Value::as_str);
        if !text("hash")?.eq_ignore_ascii_case("sha-256") {
            return None;
        }
        let setup = match text("setup")? {
            "active" => Setup::Active,
            "passive" => Setup::Passive,
            _ => return None,
        };
        let bytes: Option<Vec<u8>> =
            text("fingerprint")?.split(':').map(|hex| u8::from_str_radix(hex, 16).ok()).collect();
        bytes.filter(|bytes| bytes.len() == 32).map(|bytes| (setup, bytes))
    })
}

fn read_groups(groups: &Value) -> Option<Vec<SourceGroup>> {
    let groups = groups.as_array().filter(|groups| groups.len() <= MAX_GROUPS)?;
    groups
        .iter()
        .map(|group| {
            let semantics = group.get("semantics")?.as_str()?;
            let sources = group.get("sources")?.as_array().filter(|s| s.len() <= MAX_GROUP_SOURCES)?;
            let sources = sources.iter().map(|source| ssrc_of(source).map(u32::cast_signed));
            Some(SourceGroup { semantics: semantics.to_owned(), sources: sources.collect::<Option<_>>()? })
        })
        .collect()
}

/// The layers in `SIM` order; without a `SIM` group the `FID` pairs in the order they stand.
fn layers_of(groups: &[SourceGroup]) -> Vec<Layer> {
    let sources = |semantics: &'static str| {
        groups.iter().filter(move |group| group.semantics == semantics).map(|group| &group.sources[..])
    };
    let rtx_of =
        |ssrc: i32| sources("FID").find(|pair| pair.len() == 2 && pair[0] == ssrc).map(|pair| pair[1]);
    let primaries: Vec<i32> = match sources("SIM").next() {
        Some(sim) => sim.to_vec(),
        None => sources("FID").filter_map(|pair| pair.first().copied()).collect(),
    };
    let layer = |ssrc: i32| Layer { ssrc: ssrc.cast_unsigned(), rtx: rtx_of(ssrc).map(i32::cast_unsigned) };
    primaries.into_iter().map(layer).collect()
}

/// An SSRC as JSON has it: int32 as in TL, or the same 32 bits unsigned.
fn ssrc_of(value: &Value) -> Option<u32> {
    let number = value.as_i64()?;
    i32::try_from(number).map(i32::cast_unsigned).or_else(|_| u32::try_from(number)).ok()
}

/// What RFC 8839 allows in `ice-ufrag` and `ice-pwd`; it also keeps line breaks out.
fn is_ice_text(text: &str) -> bool {
    let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '-' | '_' | '=');
    (4..=256).contains(&text.len()) && text.chars().all(ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINGERPRINT: &str = "3B:91:0C:5E:77:AA:14:D2:60:8F:E1:49:B3:02:CD:7A:\
                               95:6E:2F:18:C4:8D:31:F0:5B:A6:E9:13:70:4C:DE:28";

    fn params(ssrc: &str, groups: &str) -> String {
        format!(
            r#"{{{ssrc}"ufrag":"k8Qz","pwd":"Y1nVb0oXw7c3Lr5TgJ2uKeHs","later":[1],
              "fingerprints":[{{"hash":"sha-256","setup":"passive","fingerprint":"{FINGERPRINT}"}}]{groups}}}"#
        )
    }

    #[test]
    fn reads_the_three_forms_of_video() {
        let none = JoinPayload::parse(&params(r#""ssrc":1203778145,"#, "")).expect("audio only");
        assert_eq!((none.ssrc, none.layers.len(), none.setup), (1_203_778_145, 0, Setup::Passive));
        assert_eq!(none.fingerprint[..3], [0x3B, 0x91, 0x0C]);

        let one = r#","ssrc-groups":[{"semantics":"FID","sources":[12,13]}]"#;
        let one = JoinPayload::parse(&params(r#""ssrc":11,"#, one)).expect("one layer");
        assert_eq!(one.layers, [Layer { ssrc: 12, rtx: Some(13) }]);

        let three = r#","ssrc-groups":[{"semantics":"SIM","sources":[12,14,16]},
            {"semantics":"FID","sources":[14,15]},{"semantics":"FID","sources":[12,13]}]"#;
        let three = JoinPayload::parse(&params(r#""ssrc":11,"#, three)).expect("simulcast");
        let layers = [(12, Some(13)), (14, Some(15)), (16, None)].map(|(ssrc, rtx)| Layer { ssrc, rtx });
        assert_eq!(three.layers, layers);
    }

    #[test]
    fn ssrcs_may_be_signed_or_unsigned() {
        for ssrc in ["-884120331", "3410846965"] {
            let payload = JoinPayload::parse(&params(&format!(r#""ssrc":{ssrc},"#), "")).expect(ssrc);
            assert_eq!(payload.ssrc, 3_410_846_965);
        }
    }

    #[test]
    fn a_missing_zero_or_repeated_ssrc_counts_as_duplicate() {
        let twice = r#","ssrc-groups":[{"semantics":"FID","sources":[11,12]}]"#;
        for (ssrc, groups) in
            [("", ""), (r#""ssrc":0,"#, ""), (r#""ssrc":"x","#, ""), (r#""ssrc":11,"#, twice)]
        {
            let error = JoinPayload::parse(&params(ssrc, groups)).expect_err("not joinable");
            assert_eq!(error, RpcError::ssrc_duplicate(), "{ssrc} {groups}");
        }
    }

    #[test]
    fn what_is_no_payload_is_invalid_json() {
        let sha1 = params(r#""ssrc":1,"#, "").replace("sha-256", "sha-1");
        let short = params(r#""ssrc":1,"#, "").replace(":28", "");
        let newline = params(r#""ssrc":1,"#, "").replace("k8Qz", "k8Qz\\r\\na=x");
        let long = format!("{{\"x\":\"{}\"}}", "y".repeat(MAX_PARAMS_BYTES));
        let groups = params(r#""ssrc":1,"#, r#","ssrc-groups":[{"semantics":"FID"}]"#);
        for text in ["", "[]", "{", &sha1, &short, &newline, &long, &groups] {
            let error = JoinPayload::parse(text).expect_err("not a payload");
            assert_eq!(error, RpcError::data_json_invalid(), "{text}");
        }
    }
}
