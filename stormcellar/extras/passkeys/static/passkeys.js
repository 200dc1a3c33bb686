// SPDX-License-Identifier: MIT
/** What registering and signing in share. */
import { fetch as sessionFetch } from "/static/session.js";

/** Whether this browser can do what the other functions here do. */
export const knowsPasskeys = () =>
  Boolean(window.PublicKeyCredential?.parseCreationOptionsFromJSON && PublicKeyCredential.parseRequestOptionsFromJSON);

/**
 * Asks an endpoint of this site.
 *
 * @param {string} address
 * @param {object} body
 * @returns {Promise<any>} its answer
 * @throws {Refusal} it refused, or could not be asked
 */
export async function ask(address, body) {
  let response;
  try {
    response = await sessionFetch(address, {
      method: "POST",
      headers: { "Content-Type": "application/json", "st-auth-mode": "cookie" },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Refusal("The server cannot be reached. Please try again.");
  }
  if (!response.ok) throw new Refusal("This did not work. Please load the page anew and try again.");
  const answer = await response.json();
  if (answer.status !== "OK") throw new Refusal(answer.message);
  return answer;
}

/** Why something did not work, in a sentence for people. */
export class Refusal extends Error {}

/**
 * @param {unknown} error
 * @returns {string} a sentence for people
 */
export function inWords(error) {
  if (error instanceof Refusal) return error.message;
  if (error?.name === "InvalidStateError") return "This device has a passkey for your account already.";
  if (error?.name === "NotAllowedError") return "It was cancelled, or took too long. You can try again.";
  if (error?.name === "SecurityError") return "Passkeys do not work at this address. Use the site’s host name.";
  return "Your device could not do this.";
}
