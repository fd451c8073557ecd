//! The auth.* methods: by QR code, or by phone, code and two-step password.

use grammers_tl_types as tl;

use super::methods::{Caller, Methods, date};
use super::objects;
use super::phone::container;
use crate::emulator::RpcError;

/// How long a QR code can be scanned.
const TOKEN_LIFE: i32 = 30;

impl Methods {
    pub(super) fn export_login_token(
        &self,
        caller: &Caller,
        request: tl::functions::auth::ExportLoginToken,
    ) -> Result<tl::enums::auth::LoginToken, RpcError> {
        check_api(request.api_id)?;
        let mut world = self.world();
        if let Some(account) = world.scanned.remove(&caller.key) {
            if let Some(dc_id) = world.migrate_qr.take() {
                let token: Vec<u8> = (0..16).map(|_| fastrand::u8(..)).collect();
                world.migrating.insert(token.clone(), account);
                return Ok(tl::types::auth::LoginTokenMigrateTo { dc_id, token }.into());
            }
            drop(world);
            let authorization = self.let_in(caller, account)?;
            return Ok(tl::types::auth::LoginTokenSuccess { authorization }.into());
        }
        let token: Vec<u8> = (0..16).map(|_| fastrand::u8(..)).collect();
        // The one before is good no more.
        world.tokens.retain(|_, key| *key != caller.key);
        world.tokens.insert(token.clone(), caller.key);
        let life = world.qr_life.unwrap_or(TOKEN_LIFE);
        Ok(tl::types::auth::LoginToken { expires: date(caller) + life, token }.into())
    }

    pub(super) fn import_login_token(
        &self,
        caller: &Caller,
        request: tl::functions::auth::ImportLoginToken,
    ) -> Result<tl::enums::auth::LoginToken, RpcError> {
        let account = self.world().migrating.remove(&request.token);
        let account = account.ok_or_else(|| RpcError::new(400, "AUTH_TOKEN_INVALID"))?;
        let authorization = self.let_in(caller, account)?;
        Ok(tl::types::auth::LoginTokenSuccess { authorization }.into())
    }

    pub(super) fn send_code(
        &self,
        _: &Caller,
        request: tl::functions::auth::SendCode,
    ) -> Result<tl::enums::auth::SentCode, RpcError> {
        check_api(request.api_id)?;
        let mut world = self.world();
        let phone = digits(&request.phone_number);
        let mut accounts = world.accounts.values();
        let account = accounts.find(|account| account.phone.as_deref() == Some(&phone));
        let account = account.ok_or_else(|| RpcError::new(400, "PHONE_NUMBER_INVALID"))?.id;
        let (hash, code) =
            (format!("{:016x}", fastrand::u64(..)), format!("{:05}", fastrand::u32(..100_000)));
        world.codes.insert(phone, (hash.clone(), code));
        let by_email = tl::types::auth::SentCodeTypeEmailCode {
            apple_signin_allowed: false,
            google_signin_allowed: false,
            email_pattern: "a***@example.org".into(),
            length: 5,
            reset_available_period: None,
            reset_pending_date: None,
        };
        let in_app = tl::types::auth::SentCodeTypeApp { length: 5 };
        Ok(tl::types::auth::SentCode {
            r#type: if world.by_email.contains(&account) { by_email.into() } else { in_app.into() },
            phone_code_hash: hash,
            next_type: None,
            timeout: None,
        }
        .into())
    }

    pub(super) fn sign_in(
        &self,
        caller: &Caller,
        request: tl::functions::auth::SignIn,
    ) -> Result<tl::enums::auth::Authorization, RpcError> {
        let phone = digits(&request.phone_number);
        let account = {
            let mut world = self.world();
            let mut accounts = world.accounts.values();
            let account = accounts.find(|account| account.phone.as_deref() == Some(&phone));
            let account = account.map(|account| account.id);
            let given = match &request.email_verification {
                Some(tl::enums::EmailVerification::Code(mail)) => Some(&mail.code),
                _ => request.phone_code.as_ref(),
            };
            let by_email = account.is_some_and(|account| world.by_email.contains(&account));
            let (hash, code) =
                world.codes.get(&phone).ok_or_else(|| RpcError::new(400, "PHONE_CODE_EXPIRED"))?;
            let is_right = *hash == request.phone_code_hash && Some(code) == given;
            if !is_right || by_email != request.email_verification.is_some() {
                return Err(RpcError::new(400, "PHONE_CODE_INVALID"));
            }
            world.codes.remove(&phone);
            account
        };
        self.let_in(caller, account.ok_or_else(|| RpcError::new(400, "PHONE_NUMBER_INVALID"))?)
    }

    pub(super) fn get_password(
        &self,
        caller: &Caller,
        _: tl::functions::account::GetPassword,
    ) -> Result<tl::enums::account::Password, RpcError> {
        let mut world = self.world();
        let verifier =
            world.half_in.get(&caller.key).and_then(|account| world.passwords.get(account)).cloned();
        let verifier = verifier.ok_or_else(|| RpcError::new(401, "AUTH_KEY_UNREGISTERED"))?;
        let challenge = verifier.challenge();
        let described = verifier.describe(&challenge);
        world.challenges.insert(caller.key, challenge);
        Ok(described)
    }

    pub(super) fn check_password(
        &self,
        caller: &Caller,
        request: tl::functions::auth::CheckPassword,
    ) -> Result<tl::enums::auth::Authorization, RpcError> {
        let invalid = || RpcError::new(400, "PASSWORD_HASH_INVALID");
        let tl::enums::InputCheckPasswordSrp::Srp(answer) = request.password else { return Err(invalid()) };
        let mut world = self.world();
        let account = *world.half_in.get(&caller.key).ok_or_else(invalid)?;
        let challenge =
            world.challenges.remove(&caller.key).ok_or_else(|| RpcError::new(400, "SRP_ID_INVALID"))?;
        if !world.passwords.get(&account).is_some_and(|verifier| verifier.check(&challenge, &answer)) {
            return Err(invalid());
        }
        world.half_in.remove(&caller.key);
        world.sign(caller.key, Some(account));
        authorization(&world.accounts[&account])
    }

    /// Signs the caller's key in, if no password stands before that.
    fn let_in(&self, caller: &Caller, account: i64) -> Result<tl::enums::auth::Authorization, RpcError> {
        let mut world = self.world();
        if world.passwords.contains_key(&account) {
            world.half_in.insert(caller.key, account);
            return Err(RpcError::new(401, "SESSION_PASSWORD_NEEDED"));
        }
        world.sign(caller.key, Some(account));
        authorization(&world.accounts[&account])
    }

    /// Another device of `account` has scanned the QR code with this token.
    pub(super) fn scan(&self, token: &[u8], account: i64) -> bool {
        let key = {
            let mut world = self.world();
            let Some(key) = world.tokens.remove(token) else { return false };
            world.scanned.insert(key, account);
            key
        };
        let news = container(vec![tl::enums::Update::LoginToken], vec![], vec![], 0);
        for (connection, _) in self.pushes.connections().into_iter().filter(|(_, of)| *of == key) {
            self.pushes.to(connection, &news);
        }
        true
    }
}

pub(super) fn authorization(
    account: &super::world::Account,
) -> Result<tl::enums::auth::Authorization, RpcError> {
    Ok(tl::types::auth::Authorization {
        setup_password_required: false,
        otherwise_relogin_days: None,
        tmp_sessions: None,
        future_auth_token: None,
        user: objects::user(account, account.id),
    }
    .into())
}

fn check_api(api_id: i32) -> Result<(), RpcError> {
    if api_id > 0 { Ok(()) } else { Err(RpcError::new(400, "API_ID_INVALID")) }
}

/// Phone numbers come with a plus and without.
pub(super) fn digits(phone: &str) -> String {
    phone.chars().filter(char::is_ascii_digit).collect()
}
