// SPDX-License-Identifier: GPL-3.0-or-later
//! Redfish (DMTF DSP0266): a system's PowerState, and ComputerSystem.Reset, over HTTPS. What a BMC answers leads nowhere
//! else: of its links the paths count, and no redirection is followed.

use super::{
    row::{PowerAction, PowerState},
    settings::Bmc,
};
use crate::body;
use bootspec::text::printable;
use reqwest::{Certificate, Client, Method, StatusCode, redirect::Policy};
use serde_json::{Value, json};
use std::{error::Error as _, io, time::Duration};
use tokio_rustls::rustls as tls;

const CONNECT: Duration = Duration::from_secs(5);
/// Bytes of an answer.
const MAX_ANSWER: usize = 1 << 20;
const SYSTEMS: &str = "/redfish/v1/Systems";
const RESET: &str = "#ComputerSystem.Reset";

struct Session<'a> {
    http: Client,
    bmc: &'a Bmc,
}

/// Ask a BMC, or have it do something.
pub async fn ask(bmc: &Bmc, action: PowerAction) -> Result<Option<PowerState>, String> {
    let session = Session { http: client(bmc).await?, bmc };
    let path = session.system().await?;
    let system = session.get(&path).await?;
    let state = match system["PowerState"].as_str() {
        Some("On" | "PoweringOn") => PowerState::On,
        Some("Off" | "PoweringOff") => PowerState::Off,
        other => return Err(session.odd(&format!("the power state '{}'", other.unwrap_or_default()))),
    };
    let wanted: &[&str] = match (action, state) {
        (PowerAction::Status, _) => return Ok(Some(state)),
        (PowerAction::On, PowerState::On) | (PowerAction::Off, PowerState::Off) => return Ok(None),
        (PowerAction::On | PowerAction::Cycle, PowerState::Off) => &["On", "ForceOn"],
        (PowerAction::Off, PowerState::On) => &["ForceOff"],
        (PowerAction::Cycle, PowerState::On) => &["PowerCycle", "ForceRestart"],
    };
    session.reset(&path, &system["Actions"][RESET], wanted).await?;
    Ok(None)
}

async fn client(bmc: &Bmc) -> Result<Client, String> {
    let mut builder =
        Client::builder().connect_timeout(CONNECT).redirect(Policy::none()).no_proxy().https_only(true);
    if bmc.insecure {
        builder = builder.tls_certs_only([]).tls_danger_accept_invalid_certs(true);
    } else if let Some(path) = &bmc.ca {
        let pem = tokio::fs::read(path).await.map_err(|e| format!("reading {}: {e}", path.display()))?;
        let all = Certificate::from_pem_bundle(&pem).ok().filter(|all| !all.is_empty());
        let all = all.ok_or_else(|| format!("{} has no certificate in it (PEM)", path.display()))?;
        builder = builder.tls_certs_only(all);
    }
    builder.build().map_err(|e| format!("{:#}", anyhow::Error::from(e).context("preparing HTTPS")))
}

impl Session<'_> {
    /// The path of the machine's system.
    async fn system(&self) -> Result<String, String> {
        let wanted = self.bmc.address.system.as_deref();
        if let Some(path) = wanted.filter(|system| system.starts_with('/')) {
            return Ok(path.to_owned());
        }
        let list = self.get(SYSTEMS).await?;
        let members = list["Members"].as_array().map(Vec::as_slice).unwrap_or_default();
        let paths: Vec<&str> = members.iter().filter_map(|m| m["@odata.id"].as_str()).collect();
        let last = |path: &str| path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
        let found: Vec<&&str> = match wanted {
            Some(wanted) => paths.iter().filter(|path| last(path) == wanted).collect(),
            None => paths.iter().collect(),
        };
        match found[..] {
            [path] => self.own(path),
            _ => {
                let names: Vec<String> =
                    paths.iter().take(10).map(|path| printable(&last(path), 40)).collect();
                Err(format!(
                    "its BMC {0} has these systems: {1}; name one, as in redfish://{0}/NAME",
                    self.bmc.address,
                    names.join(", ")
                ))
            }
        }
    }

    /// A path that a BMC names, on the BMC itself.
    fn own(&self, path: &str) -> Result<String, String> {
        match path.starts_with('/') && !path.starts_with("//") {
            true => Ok(path.to_owned()),
            false => Err(self.odd(&format!("the link '{path}'"))),
        }
    }

    async fn reset(&self, system: &str, action: &Value, wanted: &[&str]) -> Result<(), String> {
        let target = match action["target"].as_str() {
            Some(target) => self.own(target)?,
            None => format!("{}/Actions/ComputerSystem.Reset", system.trim_end_matches('/')),
        };
        let allowed: Option<Vec<&str>> = action["ResetType@Redfish.AllowableValues"]
            .as_array()
            .map(|values| values.iter().filter_map(Value::as_str).collect());
        let kind = match &allowed {
            Some(allowed) => wanted.iter().find(|kind| allowed.contains(kind)),
            // The last one is what all have.
            None => {
                if wanted.contains(&"On") {
                    wanted.first()
                } else {
                    wanted.last()
                }
            }
        };
        let kind = kind.ok_or_else(|| format!("its BMC {} cannot do that", self.bmc.address))?;
        self.send(Method::POST, &target, Some(json!({"ResetType": kind}))).await.map(drop)
    }

    async fn get(&self, path: &str) -> Result<Value, String> {
        let bytes = self.send(Method::GET, path, None).await?;
        serde_json::from_slice(&bytes).map_err(|_| self.odd(&format!("{path} with what is not JSON")))
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Result<Vec<u8>, String> {
        let address = &self.bmc.address;
        let host = match address.host.contains(':') {
            true => format!("[{}]", address.host),
            false => address.host.clone(),
        };
        let url = format!("https://{host}:{}{path}", address.port);
        let login = &self.bmc.login;
        let mut request =
            self.http.request(method, url).basic_auth(&login.user, Some(login.password.reveal()));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.map_err(|e| self.failed(e))?;
        let status = answer.status();
        let read =
            body::up_to(reqwest::Body::from(answer), MAX_ANSWER, 0).await.map_err(|e| self.failed(e))?;
        let bytes = read.ok_or_else(|| self.odd(&format!("{path} with more than {MAX_ANSWER} bytes")))?;
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.bmc.refused()),
            status if status.is_success() => Ok(bytes),
            status => {
                let said: Value = serde_json::from_slice(&bytes).unwrap_or_default();
                let said = said["error"]["message"].as_str().unwrap_or_default();
                Err(self.odd(&format!("{path} with {status} {said}")))
            }
        }
    }

    fn odd(&self, what: &str) -> String {
        format!("its BMC {} answers {}", self.bmc.address, printable(what.trim_end(), 300))
    }

    fn failed(&self, e: reqwest::Error) -> String {
        match distrust(&e) {
            Some(why) => format!(
                "the certificate of its BMC {} is not trusted ({why}): give its authority's as ca, or insecure = true",
                self.bmc.address
            ),
            None => self.bmc.silent(),
        }
    }
}

/// What TLS says, if that is what an error comes from. An I/O error hides the one that it was made of.
fn distrust(e: &reqwest::Error) -> Option<&tls::Error> {
    let mut next = e.source();
    while let Some(e) = next {
        if let Some(why) = e.downcast_ref() {
            return Some(why);
        }
        next = match e.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(made_of) => Some(made_of),
            None => e.source(),
        };
    }
    None
}
