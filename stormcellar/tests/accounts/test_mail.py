# SPDX-License-Identifier: MIT
"""Mails that leave: to a real SMTP server on this machine, plain, by STARTTLS and by TLS."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from stormcellar.accounts import EmailError, Mail, Mailbox, MailError, NoMailer, SmtpMailer, normalise_email
from stormcellar.accounts.mail import MAILBOX_SIZE
from stormcellar.settings import Settings
from stormcellar.tests.serving import free_port
from stormcellar.tests.smtp import LOGIN, USER, PostOffice
from stormcellar.web.mails import make_smtp_mailer

SENDER = "no-reply@example.com"
LINK = "https://www.example.com/reset-password?token=" + "x" * 43 + "&tenantId=public"
MAIL = Mail("ann@example.com", "Grüße", f"Hello,\n\n{LINK}\n", f'<p><a href="{LINK}">Öffnen</a></p>\n')
ADDRESSES = [
    "ann+tag@example.com",
    "o'hara@example.com",
    "!#$%&*@example.com",
    '"a b"@example.com',
    '"a\\"b"@example.com',
    '"jö rg"@example.com',
    "ann@[127.0.0.1]",
    "jörg@example.com",
]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost that nobody but itself vouches for, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + built.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def client_tls(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


async def refusal(mailer: SmtpMailer, mail: Mail = MAIL) -> str:
    with pytest.raises(MailError) as refused:
        await mailer.send(mail)
    # A traceback shows nothing more.
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__
    return str(refused.value)


@pytest.mark.gen_test
async def test_a_mail_arrives_as_text_and_html_that_say_the_same() -> None:
    office = PostOffice()
    async with office.open() as host:
        await SmtpMailer(f"smtp://{host}", SENDER, "Käseglocke").send(MAIL)
    message = office.message()
    assert (office.taken[0].mail_from, office.taken[0].rcpt_tos) == (SENDER, ["ann@example.com"])
    assert (message["From"], message["To"]) == (f"Käseglocke <{SENDER}>", "ann@example.com")
    assert message["Subject"] == "Grüße"
    assert message["Date"]
    assert message["Message-ID"].endswith("@example.com>")
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content_type() == "multipart/alternative"
    text, html = (part.get_content().replace("\r\n", "\n") for part in message.iter_parts())
    assert (text, html) == (MAIL.text, MAIL.html)


@pytest.mark.gen_test
async def test_a_mail_passes_servers_that_take_short_lines_of_seven_bits_only() -> None:
    office = PostOffice()
    async with office.open() as host:
        await SmtpMailer(f"smtp://{host}", SENDER, "Käseglocke").send(MAIL)
    content = office.taken[0].content
    assert isinstance(content, bytes)
    assert content.isascii()
    assert max(map(len, content.split(b"\r\n"))) <= 78


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.gen_test
async def test_a_mail_arrives_at_every_kind_of_address(address: str) -> None:
    office = PostOffice()
    async with office.open(enable_SMTPUTF8=True) as host:
        await SmtpMailer(f"smtp://{host}", SENDER).send(Mail(address, "x", "x\n", "x\n"))
    assert office.taken[0].rcpt_tos == [address]


@pytest.mark.parametrize("address", ["a@example.com\r\nBcc: b@example.com", "ann", ""])
@pytest.mark.gen_test
async def test_no_address_smuggles_in_another(address: str) -> None:
    office = PostOffice()
    async with office.open() as host:
        await refusal(SmtpMailer(f"smtp://{host}", SENDER), Mail(address, "x", "x\n", "x\n"))
    assert office.taken == []


@pytest.mark.gen_test
async def test_starttls_encrypts_before_the_password_is_sent(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    office = PostOffice()
    async with office.open(tls_context=server_tls, require_starttls=True) as host:
        await SmtpMailer(f"smtp+starttls://{LOGIN}@{host}", SENDER, tls=client_tls).send(MAIL)
    assert (office.logins, len(office.taken)) == ([USER], 1)


@pytest.mark.gen_test
async def test_smtps_is_encrypted_from_the_first_byte_on(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    office = PostOffice()
    async with office.open(tls=server_tls, auth_require_tls=False) as host:
        await SmtpMailer(f"smtps://{LOGIN}@{host}", SENDER, tls=client_tls).send(MAIL)
    assert (office.logins, len(office.taken)) == ([USER], 1)


@pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls"])
@pytest.mark.gen_test
async def test_a_certificate_that_nobody_vouches_for_is_refused(
    server_tls: ssl.SSLContext, scheme: str
) -> None:
    office = PostOffice()
    options: dict[str, Any] = {"tls" if scheme == "smtps" else "tls_context": server_tls}
    async with office.open(**options) as host:
        assert "SSLCertVerificationError" in await refusal(SmtpMailer(f"{scheme}://{LOGIN}@{host}", SENDER))
    assert (office.logins, office.taken) == ([], [])


@pytest.mark.gen_test
async def test_starttls_is_not_optional() -> None:
    """A server, or someone in between, that offers no encryption gets neither password nor mail."""
    office = PostOffice()
    async with office.open(auth_require_tls=False) as host:
        mailer = SmtpMailer(f"smtp+starttls://{LOGIN}@{host}", SENDER)
        assert "SMTPNotSupportedError" in await refusal(mailer)
    assert (office.logins, office.taken) == ([], [])


@pytest.mark.gen_test
async def test_a_wrong_password_is_told_without_it() -> None:
    office = PostOffice()
    async with office.open(auth_require_tls=False) as host:
        mailer = SmtpMailer(f"smtp://kit:wrong-secret@{host}", SENDER)
        message = await refusal(mailer)
    assert "SMTPAuthenticationError (535)" in message
    assert "wrong-secret" not in f"{message} {mailer!r}"


@pytest.mark.gen_test
async def test_a_refused_recipient_is_told_by_the_code_without_the_address() -> None:
    office = PostOffice(refuse="550 <{}> is not known here")
    async with office.open() as host:
        message = await refusal(SmtpMailer(f"smtp://{host}", SENDER))
    assert "the recipient was refused (550)" in message
    assert "ann@example.com" not in message


@pytest.mark.gen_test
async def test_a_server_that_is_not_there_is_told() -> None:
    port = free_port()
    assert await refusal(SmtpMailer(f"smtp://127.0.0.1:{port}", SENDER)) == (
        f"smtp://127.0.0.1:{port}: ConnectionRefusedError (Connection refused)"
    )


@pytest.mark.gen_test
async def test_a_server_that_says_nothing_is_not_waited_for_for_ever() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        mailer = SmtpMailer(f"smtp://127.0.0.1:{port}", SENDER, timeout_s=0.05)
        assert "SMTPServerDisconnected" in await refusal(mailer)


@pytest.mark.parametrize("url", ["", "localhost:25", "http://localhost", "smtp://", "smtp+tls://localhost"])
def test_an_address_that_is_none_of_smtp_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="smtp://"):
        SmtpMailer(url, SENDER)


def test_neither_address_nor_text_shows_when_a_mail_is_printed() -> None:
    shown = f"{MAIL} {MAIL!r}"
    assert "Grüße" in shown
    assert not [text for text in ("ann@", "token", "Öffnen") if text in shown]


@pytest.mark.gen_test
async def test_the_mailbox_keeps_the_last_mails_newest_first() -> None:
    mailbox = Mailbox()
    for number in range(MAILBOX_SIZE + 2):
        await mailbox.send(Mail("ann@example.com", str(number), "", ""))
    assert [mail.subject for mail in mailbox.mails] == [str(n) for n in range(MAILBOX_SIZE + 1, 1, -1)]


@pytest.mark.gen_test
async def test_without_a_mailer_every_mail_is_told_to_be_lost() -> None:
    with pytest.raises(MailError, match="not set up"):
        await NoMailer().send(MAIL)


# -- the greeting, signing in, addresses -----------------------------------------------------------------


@pytest.mark.gen_test
async def test_the_greeting_has_the_name_that_was_set() -> None:
    office = PostOffice()
    async with office.open() as host:
        await SmtpMailer(f"smtp://{host}", SENDER, ehlo_name="www.example.com").send(MAIL)
    assert office.greetings == ["www.example.com"]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"public_url": "https://www.example.com:8443"}, "www.example.com"),
        ({"public_url": "https://www.example.com", "smtp_ehlo_name": "mail.example.com"}, "mail.example.com"),
        ({"smtp_ehlo_name": "[192.0.2.1]"}, "[192.0.2.1]"),
        ({}, ""),
    ],
)
def test_the_greeting_has_the_public_name_unless_another_is_set(settings: dict[str, str], name: str) -> None:
    options = Settings(smtp_url="smtp://localhost", mail_from=SENDER, **settings)  # type: ignore[arg-type]
    assert make_smtp_mailer(options).ehlo_name == name


@pytest.mark.parametrize("methods", [["PLAIN"], ["LOGIN"], ["PLAIN", "LOGIN"]])
@pytest.mark.gen_test
async def test_a_password_in_any_script_signs_in(methods: list[str]) -> None:
    office = PostOffice(password="Grüße")
    excluded = {"PLAIN", "LOGIN"} - set(methods)
    async with office.open(auth_require_tls=False, auth_exclude_mechanism=excluded) as host:
        url = f"smtp://kit%40example.com:Gr%C3%BC%C3%9Fe@{host}"
        await SmtpMailer(url, SENDER).send(MAIL)
        assert "SMTPAuthenticationError (535)" in await refusal(
            SmtpMailer(f"smtp://kit%40example.com:Gr%C3%BC@{host}", SENDER)
        )
    assert len(office.taken) == 1


@pytest.mark.gen_test
async def test_a_domain_in_another_script_is_sent_in_ascii() -> None:
    office = PostOffice()
    async with office.open() as host:  # without SMTPUTF8
        await SmtpMailer(f"smtp://{host}", SENDER).send(Mail("jo@müller.de", "x", "x\n", "x\n"))
    assert office.taken[0].rcpt_tos == ["jo@xn--mller-kva.de"]
    assert office.message()["To"] == "jo@xn--mller-kva.de"


@pytest.mark.gen_test
async def test_a_domain_whose_ascii_form_is_another_name_is_refused() -> None:
    """IDNA of 2003 writes faß.de as fass.de, which may belong to another person."""
    office = PostOffice()
    async with office.open() as host:
        mail = Mail("jo@faß.de", "x", "x\n", "x\n")
        assert "address cannot be used" in await refusal(SmtpMailer(f"smtp://{host}", SENDER), mail)
    assert office.taken == []


@pytest.mark.gen_test
async def test_a_server_without_smtputf8_is_named_as_the_reason() -> None:
    async with PostOffice().open() as host:
        mailer = SmtpMailer(f"smtp://{host}", SENDER)
        with pytest.raises(MailError, match="does not support SMTPUTF8") as refused:
            await mailer.send(Mail("jörg@example.com", "x", "x\n", "x\n"))
    assert refused.value.permanent


@pytest.mark.parametrize(
    ("answers", "stage", "permanent"),
    [
        ({"refuse": "450 <{}> later"}, "recipient", False),
        ({"refuse": "550 <{}> unknown"}, "recipient", True),
        ({"refuse_sender": "451 later"}, "sender", False),
        ({"refuse_sender": "553 not yours"}, "sender", False),  # the operator can repair it meanwhile
    ],
)
@pytest.mark.gen_test
async def test_only_a_5xx_about_this_mail_is_final(
    answers: dict[str, str], stage: str, permanent: bool
) -> None:
    async with PostOffice(**answers).open() as host:  # type: ignore[arg-type]
        with pytest.raises(MailError) as refused:
            await SmtpMailer(f"smtp://{host}", SENDER).send(MAIL)
    assert (refused.value.stage, refused.value.permanent) == (stage, permanent)


@pytest.mark.gen_test
async def test_a_server_that_answers_byte_by_byte_is_cut_off() -> None:
    """Each byte comes in time for its step; all of them together do not."""

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in b"220 " + b"x" * 10_000:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.01)

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    mailer = SmtpMailer(f"smtp://127.0.0.1:{port}", SENDER, timeout_s=5, conversation_s=0.1)
    assert "no end within 0 s" in await refusal(mailer)
    server.close()


@pytest.mark.gen_test
async def test_a_mail_that_was_taken_is_not_sent_again_after_a_bad_goodbye() -> None:
    class Rude(PostOffice):
        async def handle_QUIT(self, *_: Any) -> str:
            return "554 go away"

    office = Rude()
    async with office.open() as host:
        await SmtpMailer(f"smtp://{host}", SENDER).send(MAIL)
    assert len(office.taken) == 1


# -- headers that an address or a name tries to add --------------------------------------------------

EVIL = [
    "=?utf-8?q?x=0d=0aSubject:_Hi?=@example.com",
    '"=?utf-8?q?x=0d=0aBcc:_b@example.com?="@example.com',
    "a=?utf-8?b?DQpCY2M6IGJAZXhhbXBsZS5jb20=?=b@example.com",
]


@pytest.mark.parametrize("address", EVIL)
@pytest.mark.gen_test
async def test_an_address_with_an_encoded_word_is_refused(address: str) -> None:
    """Some releases of Python decode it while they write the head of a mail (CVE-2024-6923)."""
    with pytest.raises(EmailError):
        normalise_email(address)
    office = PostOffice()
    async with office.open() as host:
        await refusal(SmtpMailer(f"smtp://{host}", SENDER), Mail(address, "x", "x\n", "x\n"))
        with pytest.raises(ValueError, match="address"):
            SmtpMailer(f"smtp://{host}", address)
    assert office.taken == []


@pytest.mark.parametrize(
    "name",
    [
        "=?utf-8?q?x=0d=0aBcc:_b@example.com?=",
        "A\r\nBcc: b@example.com",
        "A\u2028\x0bBcc: b@example.com",
        'A" <b@example.com>, "',
        "Grüße " * 30,
        "plain, with a comma; and more",
    ],
)
@pytest.mark.gen_test
async def test_a_name_or_subject_adds_no_header(name: str) -> None:
    office = PostOffice()
    async with office.open() as host:
        await SmtpMailer(f"smtp://{host}", SENDER, name).send(Mail("ann@example.com", name, "x\n", "x\n"))
    content = office.taken[0].content
    assert isinstance(content, bytes)
    head = content.partition(b"\r\n\r\n")[0]
    names = [line.partition(b":")[0] for line in head.split(b"\r\n") if not line[:1].isspace()]
    body = [b"Content-Type", b"MIME-Version"]
    assert sorted(names) == sorted(
        [b"From", b"To", b"Subject", b"Date", b"Message-ID", b"Auto-Submitted", *body]
    )
    message = office.message()
    assert [one.addr_spec for one in message["From"].addresses] == [SENDER]
    words = " ".join("".join(one if one.isprintable() else " " for one in name).split())
    assert message["Subject"] == words
    # Python's parser adds spaces between the encoded words of a long name.
    shown = message["From"].addresses[0].display_name
    assert shown.replace(" ", "") == words.replace(" ", "")
