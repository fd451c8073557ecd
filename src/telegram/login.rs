//! Signing in: by a QR code that another device scans, or by phone number and code; then, where
//! there is one, the two-step password.
//!
//! Nothing of grammers' own helpers is used: they panic where an account has no password or
//! Telegram sends its code in a way that they do not know, and their QR login does not follow an
//! account to its data center.

use std::time::Duration;

use grammers_tl_types as tl;
use tokio::sync::broadcast;

use super::client::{Client, News};
use super::error::TelegramError;
use super::session::Me;
use crate::secret::Secret;

/// A code is asked for anew this long before it expires.
const EARLY: Duration = Duration::from_secs(1);
/// The longest that a QR code is shown, whatever the clocks say.
const MAX_SHOWN: Duration = Duration::from_secs(60);
/// SRP works with numbers of this many bytes.
const SRP_BYTES: usize = 256;

/// Somebody who is signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user id.
    pub id: i64,
    /// First and last name.
    pub name: String,
    /// The @name, without the sign.
    pub username: Option<String>,
    /// The phone number.
    pub phone: Option<Secret<String>>,
    /// A bot, which Telegram lets into no video chat.
    pub is_bot: bool,
}

/// What follows a step of the login.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoginStep {
    /// Done.
    SignedIn(Account),
    /// The two-step password is missing; see [`Client::check_password`].
    Password {
        /// What its owner wrote to remember it by.
        hint: Option<String>,
    },
}

/// A code that Telegram has sent.
#[derive(Clone, Debug)]
pub struct SentCode {
    phone: Secret<String>,
    hash: Secret<String>,
    by_email: bool,
    /// Where to look for it, for people.
    pub place: String,
}

/// A login by QR code that is under way.
#[derive(Debug)]
pub struct QrLogin {
    client: Client,
    news: broadcast::Receiver<News>,
    shown_for: Option<Duration>,
}

/// What comes next in a login by QR code.
#[derive(Debug)]
#[non_exhaustive]
pub enum QrStep {
    /// Show this link as a QR code, in the place of the one before.
    Show(Secret<String>),
    /// It was scanned.
    Scanned(LoginStep),
}

impl Client {
    /// Sends a code to the owner of a phone number.
    ///
    /// # Errors
    /// When the number will not do, or Telegram asks to wait.
    pub async fn request_code(&self, phone: Secret<String>) -> Result<SentCode, TelegramError> {
        let request = tl::functions::auth::SendCode {
            phone_number: phone.expose().clone(),
            api_id: self.inner.options.api_id,
            api_hash: self.inner.options.api_hash.expose().clone(),
            settings: tl::types::CodeSettings {
                allow_flashcall: false,
                current_number: false,
                allow_app_hash: false,
                allow_missed_call: false,
                allow_firebase: false,
                unknown_number: false,
                logout_tokens: None,
                token: None,
                app_sandbox: None,
            }
            .into(),
        };
        match self.inner.invoke(&request).await? {
            tl::enums::auth::SentCode::Code(sent) => {
                let by_email = matches!(sent.r#type, tl::enums::auth::SentCodeType::EmailCode(_));
                Ok(SentCode {
                    phone,
                    hash: sent.phone_code_hash.into(),
                    by_email,
                    place: place(&sent.r#type),
                })
            }
            _ => Err(TelegramError::LoginUnsupported),
        }
    }

    /// Gives the code that was sent.
    ///
    /// # Errors
    /// When it is wrong or too old.
    pub async fn sign_in(&self, sent: &SentCode, code: &str) -> Result<LoginStep, TelegramError> {
        let code = code.trim().to_owned();
        // A code that came by mail goes where the mail is verified.
        let by_email = tl::types::EmailVerificationCode { code: code.clone() };
        let request = tl::functions::auth::SignIn {
            phone_number: sent.phone.expose().clone(),
            phone_code_hash: sent.hash.expose().clone(),
            phone_code: (!sent.by_email).then_some(code),
            email_verification: sent.by_email.then(|| by_email.into()),
        };
        let mut is_answer_lost = false;
        let result = self.inner.invoke_telling(&request, self.patience(), &mut is_answer_lost).await;
        self.step(result, is_answer_lost).await
    }

    /// Gives the two-step password.
    ///
    /// # Errors
    /// When it is wrong.
    pub async fn check_password(&self, password: Secret<String>) -> Result<Account, TelegramError> {
        let tl::enums::account::Password::Password(asked) =
            self.inner.invoke(&tl::functions::account::GetPassword {}).await?;
        let srp_id = asked.srp_id.ok_or(TelegramError::LoginUnsupported)?;
        let proof = tokio::task::spawn_blocking(move || prove(&asked, &password));
        let (a, m1) = proof.await.map_err(|_| TelegramError::LoginUnsupported)??;
        let password = tl::types::InputCheckPasswordSrp { srp_id, a, m1 }.into();
        let request = tl::functions::auth::CheckPassword { password };
        let mut is_answer_lost = false;
        match self.inner.invoke_telling(&request, self.patience(), &mut is_answer_lost).await {
            Ok(authorization) => self.signed_in(authorization),
            // It may have been right all the same.
            Err(error) if is_answer_lost => self.account().await.map_err(|_| error),
            Err(error) => Err(error),
        }
    }

    /// Begins a login by QR code.
    pub fn qr_login(&self) -> QrLogin {
        QrLogin { client: self.clone(), news: self.inner.subscribe(), shown_for: None }
    }

    /// Who is signed in.
    ///
    /// # Errors
    /// When nobody is, or Telegram cannot be reached.
    pub async fn account(&self) -> Result<Account, TelegramError> {
        let user = tl::enums::User::User(self.inner.myself().await?);
        Account::of(&user).ok_or(TelegramError::NotSignedIn)
    }

    /// Telegram's time, in seconds since 1970.
    ///
    /// # Errors
    /// When Telegram cannot be reached.
    pub async fn server_time(&self) -> Result<i64, TelegramError> {
        let tl::enums::Config::Config(config) = self.inner.invoke(&tl::functions::help::GetConfig {}).await?;
        Ok(config.date.into())
    }

    /// Signs out at Telegram and forgets the session. A session that Telegram has ended already
    /// is forgotten all the same.
    ///
    /// # Errors
    /// When Telegram cannot be reached; the session is kept then, so that it can be tried again.
    pub async fn log_out(&self) -> Result<(), TelegramError> {
        let session = &self.inner.session;
        if !session.is_signed_in() && !session.has_key(session.home()) {
            return Err(TelegramError::NotSignedIn);
        }
        match self.inner.invoke(&tl::functions::auth::LogOut {}).await {
            Ok(_) | Err(TelegramError::SignedOut(_) | TelegramError::KeyUnknown) => {}
            Err(error) => return Err(error),
        }
        Ok(self.inner.session.delete()?)
    }

    async fn step(
        &self,
        result: Result<tl::enums::auth::Authorization, TelegramError>,
        is_answer_lost: bool,
    ) -> Result<LoginStep, TelegramError> {
        match result {
            Ok(authorization) => Ok(LoginStep::SignedIn(self.signed_in(authorization)?)),
            Err(error) if error.wants_password() => {
                let tl::enums::account::Password::Password(asked) =
                    self.inner.invoke(&tl::functions::account::GetPassword {}).await?;
                Ok(LoginStep::Password { hint: asked.hint.filter(|hint| !hint.is_empty()) })
            }
            // It may have been done, and what was sent again is refused because of that.
            Err(error) if is_answer_lost => match self.account().await {
                Ok(account) => Ok(LoginStep::SignedIn(account)),
                Err(_) => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Keeps who is signed in.
    fn signed_in(&self, authorization: tl::enums::auth::Authorization) -> Result<Account, TelegramError> {
        let tl::enums::auth::Authorization::Authorization(it) = authorization else {
            return Err(TelegramError::NoAccount);
        };
        let account = Account::of(&it.user).ok_or(TelegramError::NotSignedIn)?;
        self.inner.session.set_me(Some(Me { id: account.id, bot: account.is_bot }))?;
        Ok(account)
    }
}

impl QrLogin {
    /// Waits for what comes next: a code to show, again and again as codes expire, or the end.
    ///
    /// # Errors
    /// When Telegram cannot be reached or refuses.
    pub async fn next(&mut self) -> Result<QrStep, TelegramError> {
        if let Some(shown_for) = self.shown_for.take() {
            let scanned = async {
                loop {
                    match self.news.recv().await {
                        Ok(News::LoginToken) | Err(broadcast::error::RecvError::Lagged(_)) => return,
                        Ok(_) => {}
                        Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                    }
                }
            };
            // Either way a token is exported: it is a new one, or tells who scanned the old.
            let _ = tokio::time::timeout(shown_for, scanned).await;
        }
        let inner = &self.client.inner;
        let request = tl::functions::auth::ExportLoginToken {
            api_id: inner.options.api_id,
            api_hash: inner.options.api_hash.expose().clone(),
            except_ids: vec![],
        };
        let (patience, mut is_answer_lost) = (self.client.patience(), false);
        let mut token = inner.invoke_telling(&request, patience, &mut is_answer_lost).await;
        if let Ok(tl::enums::auth::LoginToken::MigrateTo(there)) = token {
            // The account is at home elsewhere, and there the token is worth an authorization.
            let request = tl::functions::auth::ImportLoginToken { token: there.token };
            token = inner.invoke_in(there.dc_id, &request).await;
            let is_known = match &token {
                Ok(_) => true,
                Err(error) => error.wants_password(),
            };
            if is_known {
                inner.move_to(there.dc_id)?;
            }
        }
        let result = match token {
            Ok(tl::enums::auth::LoginToken::Token(token)) => {
                self.shown_for = Some(shown_for(token.expires, unix_now()));
                let link = format!("tg://login?token={}", base64url(&token.token));
                return Ok(QrStep::Show(link.into()));
            }
            Ok(tl::enums::auth::LoginToken::Success(it)) => Ok(it.authorization),
            Ok(tl::enums::auth::LoginToken::MigrateTo(_)) => Err(TelegramError::LoginUnsupported),
            Err(error) => Err(error),
        };
        Ok(QrStep::Scanned(self.client.step(result, is_answer_lost).await?))
    }
}

impl Account {
    fn of(user: &tl::enums::User) -> Option<Self> {
        let tl::enums::User::User(it) = user else { return None };
        let names = [&it.first_name, &it.last_name].into_iter().flatten().map(String::as_str);
        Some(Self {
            id: it.id,
            name: names.collect::<Vec<_>>().join(" "),
            username: it.username.clone(),
            phone: it.phone.clone().map(Secret::new),
            is_bot: it.bot,
        })
    }
}

/// Proves that we know the password. Takes a second of computing.
fn prove(
    asked: &tl::types::account::Password,
    password: &Secret<String>,
) -> Result<(Vec<u8>, Vec<u8>), TelegramError> {
    use grammers_crypto::two_factor_auth::{calculate_2fa, check_p_and_g};
    let Some(tl::enums::PasswordKdfAlgo::Sha256Sha256Pbkdf2Hmacsha512iter100000Sha256ModPow(kdf)) =
        &asked.current_algo
    else {
        return Err(TelegramError::LoginUnsupported);
    };
    let g_b = asked.srp_b.clone().unwrap_or_default();
    // Whatever else would make the computation panic, or give the password away.
    let sane = (2..=7).contains(&kdf.g)
        && kdf.p.len() == SRP_BYTES
        && (SRP_BYTES - 8..=SRP_BYTES).contains(&g_b.len())
        && check_p_and_g(&kdf.p, &kdf.g);
    if !sane {
        return Err(TelegramError::LoginUnsupported);
    }
    let mut secret = vec![0; SRP_BYTES];
    getrandom::fill(&mut secret).expect("the system has randomness, or nothing on it is safe");
    let (m1, g_a) =
        calculate_2fa(&kdf.salt1, &kdf.salt2, &kdf.p, &kdf.g, g_b, secret, password.expose().as_bytes());
    Ok((g_a.to_vec(), m1.to_vec()))
}

/// Where to look for a code.
fn place(sent: &tl::enums::auth::SentCodeType) -> String {
    use tl::enums::auth::SentCodeType as Sent;
    match sent {
        Sent::App(_) => "in Telegram itself, on a device that is signed in".to_owned(),
        Sent::Sms(_) | Sent::FirebaseSms(_) | Sent::SmsWord(_) | Sent::SmsPhrase(_) => "in an SMS".to_owned(),
        Sent::Call(_) => "in a phone call that reads it out".to_owned(),
        Sent::FlashCall(_) => "as the number of a phone call that rings once".to_owned(),
        Sent::MissedCall(call) => {
            format!("as the last {} digits of the number {}… that calls", call.length, call.prefix)
        }
        Sent::EmailCode(mail) => format!("in an e-mail to {}", mail.email_pattern),
        Sent::FragmentSms(sms) => format!("at {}", sms.url),
        _ => "in a way that this telecast does not know; look in Telegram's app".to_owned(),
    }
}

/// How long a token that expires at a Unix time can be shown.
fn shown_for(expires: i32, now: i64) -> Duration {
    let left = u64::try_from(i64::from(expires) - now).unwrap_or_default();
    Duration::from_secs(left).saturating_sub(EARLY).clamp(EARLY, MAX_SHOWN)
}

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digit = |bits: u32| char::from(DIGITS[(bits & 63) as usize]);
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        let n_digits = chunk.len() + 1;
        text.extend((0..n_digits).map(|n| digit(bits >> (18 - 6 * n))));
    }
    text
}

#[expect(clippy::disallowed_methods, reason = "the token's expiry is a wall clock's time")]
fn unix_now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_written_as_in_links() {
        assert_eq!(base64url(&[0xfb, 0xff, 0xfe]), "-__-");
        assert_eq!(base64url(b"light w"), "bGlnaHQgdw");
        assert_eq!(base64url(b"light wo"), "bGlnaHQgd28");
        assert_eq!(base64url(&[]), "");
    }

    #[test]
    fn a_wrong_clock_shows_codes_for_a_sane_time() {
        assert_eq!(shown_for(1030, 1000), Duration::from_secs(29));
        assert_eq!(shown_for(1030, 9000), EARLY);
        assert_eq!(shown_for(i32::MAX, 0), MAX_SHOWN);
    }

    #[test]
    fn numbers_that_would_break_the_computation_are_refused() {
        let kdf = |p: Vec<u8>, g| {
            tl::types::PasswordKdfAlgoSha256Sha256Pbkdf2Hmacsha512iter100000Sha256ModPow {
                salt1: vec![1],
                salt2: vec![2],
                g,
                p,
            }
            .into()
        };
        let asked = |current_algo, srp_b| tl::types::account::Password {
            has_recovery: false,
            has_secure_values: false,
            has_password: true,
            current_algo,
            srp_b,
            srp_id: Some(1),
            hint: None,
            email_unconfirmed_pattern: None,
            new_algo: tl::enums::PasswordKdfAlgo::Unknown,
            new_secure_algo: tl::enums::SecurePasswordKdfAlgo::Unknown,
            secure_random: vec![],
            pending_reset_date: None,
            login_email_pattern: None,
        };
        for asked in [
            asked(None, None),
            asked(Some(kdf(vec![7; 256], 9)), Some(vec![1; 256])),
            asked(Some(kdf(vec![7; 255], 3)), Some(vec![1; 256])),
            asked(Some(kdf(vec![7; 256], 3)), Some(vec![1; 300])),
            asked(Some(kdf(vec![8; 256], 3)), Some(vec![1; 256])),
        ] {
            let error = prove(&asked, &Secret::new("pw".to_owned())).expect_err("refused");
            assert!(matches!(error, TelegramError::LoginUnsupported), "{error}");
        }
    }
}
