//! Clients that know the proxy: `CONNECT`, requests with a URL, SOCKS5.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;

use super::answer;
use super::buffered::Buffered;
use super::exchange::Next;
use super::link::Link;
use super::relay::End;
use super::requests;
use super::tunnel;
use crate::decide::Decision;
use crate::decide::How;
use crate::decide::Rule;
use crate::decide::Target;
use crate::fake_ips;
use crate::http::Authority;
use crate::http::Form;
use crate::http::HeadError;
use crate::limits::HEAD_TIME_MAX;
use crate::limits::IDLE_TIME_MAX;
use crate::policy::Host;
use crate::session::Session;
use crate::socks;
use crate::socks::Reply;
use crate::socks::SocksError;
use crate::usage_log::Protocol;

/// Serves a connection to the proxy itself.
pub(super) async fn serve(session: &Arc<Session>, mut client: Buffered) -> Result<(), End> {
    client.fill(IDLE_TIME_MAX).await?;
    if client.buffer[0] == socks::VERSION {
        serve_socks(session, client).await
    } else {
        serve_http(session, client).await
    }
}

/// A target for the usage log when the client has not got as far as to name one.
fn nobody(how: How) -> Target {
    Target { host: Host::Address(std::net::Ipv4Addr::UNSPECIFIED.into()), port: 0, how }
}

async fn serve_http(session: &Arc<Session>, mut client: Buffered) -> Result<(), End> {
    let mut link: Option<Link> = None;
    loop {
        let request = match requests::read(&mut client).await {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(error) => return refuse_malformed(session, &mut client, error).await,
        };
        client.consume(request.length);
        let policy = session.policy();
        let (authority, port, how) = match &request.form {
            Form::Connect(authority) => (authority, 0, How::Connect),
            Form::Absolute(authority) => (authority, 80, How::Request),
            Form::Origin => {
                let error = HeadError::Malformed(answer::NOT_A_SERVER);
                return refuse_malformed(session, &mut client, error).await;
            }
        };
        let target = match target(session, authority, port, how) {
            Ok(target) => target,
            Err(decision) => return requests::refuse(session, &mut client, &nobody(how), &decision).await,
        };
        if how == How::Connect {
            return serve_connect(session, client, &target).await;
        }
        match requests::forward(session, &policy, &mut client, &target, &request, &mut link).await? {
            Next::Request => {}
            Next::Close | Next::Switch => return Ok(()),
        }
    }
}

async fn refuse_malformed(session: &Session, client: &mut Buffered, error: HeadError) -> Result<(), End> {
    let decision = requests::malformed(&"unknown", error);
    requests::refuse(session, client, &nobody(How::Request), &decision).await
}

/// What a client names, with addresses that stand for names turned back into these.
fn target(session: &Session, authority: &Authority, port: u16, how: How) -> Result<Target, Box<Decision>> {
    let (host, port) = requests::host_of(authority, port)?;
    let host = match host {
        Host::Address(address) if fake_ips::is_fake_ip(address) => {
            session.name(address).map_or(Host::Address(address), Host::Name)
        }
        Host::Address(_) | Host::Name(_) => host,
    };
    Ok(Target { host, port, how })
}

async fn serve_connect(session: &Arc<Session>, mut client: Buffered, target: &Target) -> Result<(), End> {
    match open(session, target).await {
        Ok((rule, link)) => {
            client.stream.write_all(answer::CONNECTED).await?;
            tunnel::serve(session, client, target, rule, Some(link)).await
        }
        Err(decision) => {
            client.close_with(&answer::http(&decision)).await;
            Ok(())
        }
    }
}

/// Decides about a target and connects to it; either way the usage log knows.
async fn open(session: &Arc<Session>, target: &Target) -> Result<(Rule, Link), Decision> {
    let policy = session.policy();
    let decision = session.decide(&policy, target);
    if !decision.allowed {
        session.note(target, None, Protocol::Other, &decision);
        return Err(decision);
    }
    let link = Link::open(session, &policy, target, Protocol::Other, decision.rule).await?;
    Ok((decision.rule, link))
}

async fn serve_socks(session: &Arc<Session>, mut client: Buffered) -> Result<(), End> {
    let (is_accepted, length) = loop {
        match socks::parse_greeting(&client.buffer) {
            Ok(greeting) => break greeting,
            Err(SocksError::Incomplete) => client.fill(HEAD_TIME_MAX).await?,
            Err(SocksError::Malformed | SocksError::Command) => return Ok(()),
        }
    };
    client.consume(length);
    if !is_accepted {
        client.close_with(&socks::greeting_reply(false)).await;
        return Ok(());
    }
    client.stream.write_all(&socks::greeting_reply(true)).await?;
    let (request, length) = loop {
        match socks::parse_request(&client.buffer) {
            Ok(request) => break request,
            Err(SocksError::Incomplete) => client.fill(HEAD_TIME_MAX).await?,
            Err(SocksError::Command) => {
                client.close_with(&socks::request_reply(Reply::CommandNotSupported)).await;
                return Ok(());
            }
            Err(SocksError::Malformed) => return Ok(()),
        }
    };
    client.consume(length);
    let authority = Authority { host: request.host, port: Some(request.port) };
    let opened = match target(session, &authority, 0, How::Socks) {
        Ok(target) => open(session, &target).await.map(|(rule, link)| (target, rule, link)),
        Err(decision) => {
            session.note(&nobody(How::Socks), None, Protocol::Other, &decision);
            Err(*decision)
        }
    };
    match opened {
        Ok((target, rule, link)) => {
            client.stream.write_all(&socks::request_reply(Reply::Succeeded)).await?;
            tunnel::serve(session, client, &target, rule, Some(link)).await
        }
        Err(decision) => {
            client.close_with(&socks::request_reply(answer::socks(&decision))).await;
            Ok(())
        }
    }
}
