// SPDX-License-Identifier: MIT
/**
 * The refresh page: renews the session and goes where the visitor wanted to go, or to the sign-in page.
 *
 * It never leads in a circle. If the page that asked for the renewal goes on asking, an explanation ends it:
 * "cookies" (the browser did not keep the new ones), "clock" (the token is expired, or not valid yet, by the clock of
 * the server that judges it), "loop" (neither; the server has to be looked at).
 */

import { awaitFile } from "./file-sent.js";
import { returnAddress } from "./return-address.js";
import { attemptRefreshingSession, readFrontToken, serverNowMs, sessionFingerprint } from "./session.js";

const HISTORY_KEY = "stormcellar-returns";
const MOST_RETURNS = 2; // to one address within LOOP_WINDOW_MS; the next one is a circle
const LOOP_WINDOW_MS = 20_000;
const CLOCK_TOLERANCE_MS = 60_000;

const page = document.querySelector("[data-refresh]");
const form = page.querySelector("[data-repeat]"); // what was sent to this address, and came too soon
const isInPlace = page.dataset.refresh === "in-place"; // this page stands at the address that was wanted
const address = wantedAddress();

page.querySelector("[data-retry]").addEventListener("click", renew);
if (document.prerendering) document.addEventListener("prerenderingchange", renew, { once: true });
else renew();

async function renew() {
  showFailure(null);
  if (page.dataset.formDetour) {
    // It renews the session too, or keeps the form until its user has signed in.
    form.setAttribute("action", page.dataset.formDetour);
    sendForm();
    return;
  }
  const before = sessionFingerprint();
  let isRenewed;
  try {
    isRenewed = await attemptRefreshingSession();
  } catch (error) {
    showFailure(error);
    return;
  }
  const target = isRenewed ? await explanation(before) : signInAddress();
  if (target) location.replace(target);
  else awaitFile(isInPlace ? location.pathname : address, goOn, leaveAfterFile);
}

function goOn() {
  if (form) sendForm();
  else if (isInPlace) location.reload();
  else location.replace(address);
}

/** A field may be called "submit" or "action". */
function sendForm() {
  HTMLFormElement.prototype.submit.call(form);
}

/** The browser has saved a file and still shows this page: returns to the page before it, or says so. */
function leaveAfterFile() {
  const isFromHere = document.referrer.startsWith(location.origin + "/");
  if (isFromHere && history.length > 1) {
    history.back();
    return;
  }
  page.querySelector("[data-waiting]").hidden = true;
  page.querySelector("[data-sent]").hidden = false;
  page.querySelector("[data-go-on]").href = isFromHere ? document.referrer : "/";
}

function wantedAddress() {
  const wanted = isInPlace
    ? location.pathname + location.search
    : returnAddress(new URLSearchParams(location.search).get("redirectBack"), page.dataset.landing);
  // A redirect hands the fragment of the page that was asked for on to this one.
  return returnAddress(wanted.includes("#") ? wanted : wanted + location.hash, page.dataset.landing);
}

/** On another server the address to return to has to be a full one. */
function signInAddress() {
  const target = new URL(page.dataset.signIn, location.href);
  const isHere = target.origin === location.origin;
  target.searchParams.set("redirectBack", isHere ? address : location.origin + address);
  return target.href;
}

/**
 * @param {string} before the session's fingerprint before the renewal
 * @returns {Promise<string | null>} the page that says why this would go on for ever; null if it would not
 */
async function explanation(before) {
  const reason = await reasonToStop(before);
  return reason && `/refresh-session/stopped?reason=${reason}&redirectBack=${encodeURIComponent(address)}`;
}

async function reasonToStop(before) {
  const token = readFrontToken();
  if (!token || sessionFingerprint() === before) return "cookies";
  if (!returnsTooOften(token.up.exp - token.up.iat)) return null;
  return (await clocksDisagree(token)) ? "clock" : "loop";
}

/**
 * Counts a return to the address.
 *
 * @param {number} lifetimeS of the access token: in order, two renewals are at least that far apart
 */
function returnsTooOften(lifetimeS) {
  const windowMs = Math.min(LOOP_WINDOW_MS, lifetimeS * 1000);
  const now = Date.now();
  try {
    /** @type {[string, number][]} */
    const earlier = JSON.parse(sessionStorage.getItem(HISTORY_KEY) ?? "[]");
    const recent = earlier.filter(([, at]) => Math.abs(now - at) < windowMs);
    const isCircle = recent.filter(([to]) => to === address).length >= MOST_RETURNS;
    sessionStorage.setItem(HISTORY_KEY, JSON.stringify(isCircle ? [] : [...recent, [address, now]]));
    return isCircle;
  } catch {
    return false; // a browser without storage keeps no cookies either, and that is noticed before
  }
}

/** Whether the site's own server would think the new token expired, or issued in the future. */
async function clocksDisagree(token) {
  const answer = await fetch(import.meta.url, { method: "HEAD", cache: "no-store" }).catch(() => null);
  const siteNowMs = Date.parse(answer?.headers.get("date") ?? "") || serverNowMs();
  return token.ate <= siteNowMs || Math.abs(token.up.iat * 1000 - siteNowMs) > CLOCK_TOLERANCE_MS;
}

/** @param {unknown} error what went wrong; null while it is tried */
function showFailure(error) {
  page.querySelector("[data-waiting]").hidden = error !== null;
  page.querySelector("[data-failed]").hidden = error === null;
  page.querySelector("[data-cause]").textContent =
    error instanceof Response ? `The server answered with an error (${error.status}).` : "The server could not be reached.";
}
