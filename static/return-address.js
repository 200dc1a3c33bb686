// SPDX-License-Identifier: MIT
/**
 * Where a visitor may be sent after signing in or renewing the session: this site's own paths only.
 *
 * handlers/return_address.py holds the same rule for the server; tests/return_addresses.json is run against both.
 */

const LONGEST_ADDRESS = 2048;

// Visible ASCII without the backslash, which browsers read as a slash; "//host" would be another site.
const ADDRESS = /^\/(?!\/)[!-\[\]-~]*$/;
const ESCAPE = /%([0-9A-Fa-f]{2})/g;
// An empty, "." or ".." segment, a backslash, a control character: what proxies and browsers read differently.
const UNSAFE_PATH = /\/\/|\\|[\x00-\x1f\x7f]|\/\.\.?(?:\/|$)/;
// Going back to where the session is renewed or ended would lead in a circle.
const CIRCLE = /^\/(?:refresh-session|signout)(?:\/|$)|\/session\/refresh(?:\/|$)/;

/**
 * Answers `value` if it is a path on this site, with query and fragment as they are; else `fallback`.
 *
 * @param {unknown} value what the address bar or a form said
 * @param {string} [fallback] the program's own, not checked
 * @returns {string}
 */
export function returnAddress(value, fallback = "/dashboard") {
  if (typeof value !== "string" || value.length > LONGEST_ADDRESS || !ADDRESS.test(value)) return fallback;
  let path = "";
  let decoded = value.split(/[?#]/, 1)[0];
  while (decoded !== path) { // each round takes one layer of percent-encoding off, so this ends
    path = decoded;
    if (UNSAFE_PATH.test(path) || CIRCLE.test(path)) return fallback;
    decoded = path.replace(ESCAPE, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
  }
  return value;
}
