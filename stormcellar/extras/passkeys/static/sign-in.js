// SPDX-License-Identifier: MIT
/**
 * A button for signing in with a passkey, where people prove who they are; and passkeys among what the browser offers
 * for the e-mail field.
 */
import { ask, inWords, knowsPasskeys } from "./passkeys.js";

const OFFER_AGAIN_MS = 9 * 60_000; // the server takes a challenge for ten minutes

const place = document.getElementById("other-ways");
const emailField = document.querySelector("input[autocomplete='username']");
let waiting = new AbortController(); // what the browser offers by itself ends when the button is pressed

if (knowsPasskeys()) {
  const error = Object.assign(document.createElement("p"), { className: "alert", hidden: true });
  error.setAttribute("role", "alert");
  const button = Object.assign(document.createElement("button"), {
    type: "button",
    className: "button button-quiet button-large",
    textContent: "Use a passkey",
  });
  place.append(error, button);
  place.hidden = false;

  button.addEventListener("click", async () => {
    waiting.abort();
    error.hidden = true;
    button.disabled = true;
    try {
      await signIn({});
    } catch (reason) {
      error.textContent = inWords(reason);
      error.hidden = false;
      button.disabled = false;
    }
  });
  offer();
}

/** @param {object} how further members of what the browser is asked */
async function signIn(how) {
  const { publicKey } = await ask("/passkeys/sign-in/options", {});
  const credential = await navigator.credentials.get({
    ...how,
    publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(publicKey),
  });
  const back = encodeURIComponent(place.dataset.redirectBack);
  const answer = await ask(`/passkeys/sign-in?redirectBack=${back}`, { credential: credential.toJSON() });
  location.assign(answer.redirectTo + location.hash); // the part of the page that was wanted
}

/** Has the browser offer passkeys where it offers to fill in the e-mail address. */
async function offer() {
  if (!emailField || !(await PublicKeyCredential.isConditionalMediationAvailable?.())) return;
  if (document.prerendering) await new Promise((done) => document.addEventListener("prerenderingchange", done));
  emailField.autocomplete = "username webauthn";
  while (!waiting.signal.aborted) {
    const round = new AbortController();
    const timer = setTimeout(() => round.abort(), OFFER_AGAIN_MS);
    waiting.signal.addEventListener("abort", () => round.abort());
    try {
      await signIn({ mediation: "conditional", signal: round.signal });
      return;
    } catch (reason) {
      if (reason?.name !== "AbortError") return; // the button is still there
    } finally {
      clearTimeout(timer);
    }
  }
}
