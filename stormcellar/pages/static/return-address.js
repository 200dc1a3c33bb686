// SPDX-License-Identifier: MIT
/**
 * Where a visitor may be sent after signing in or renewing the session: this site's own paths only.
 *
 * stormcellar/web/return_address.py holds the same rule for the server; stormcellar/tests/return_addresses.json is run against both.
 */

const LONGEST_ADDRESS = 8192; // nginx takes no longer request line, unless told otherwise

// Visible ASCII, in the path without the backslash, which browsers read as a slash; "//host" would be another site.
const ADDRESS = /^(\/(?!\/)[!"$->@-\[\]-~]*)(?:[?#][!-~]*)?$/;
const ESCAPE = /%([0-9A-Fa-f]{2})/g;
// Browsers resolve "." and ".." segments, so no page has such an address.
const DOT_SEGMENT = /\/(?:\.|%2e){1,2}(?:\/|$)/i;
// What is "//host" or "/\host" for a program that decodes the path; browsers leave control characters out.
const HOST = /^\/[\x00-\x20\x7f]*[/\\]/;
// Going back to where the session is renewed or ended would lead in a circle.
const CIRCLE = /^\/(?:refresh-session|signout)(?:\/|$)|\/session\/refresh(?:\/|$)/;

/**
 * Answers `value` if it is a path on this site, with query and fragment as they are; else `fallback`.
 *
 * @param {unknown} value what the address bar or a form said
 * @param {string} [fallback] the program's own, not checked
 * @returns {string}
 */
export function returnAddress(value, fallback = "/") {
  if (typeof value !== "string" || value.length > LONGEST_ADDRESS) return fallback;
  const path = ADDRESS.exec(value)?.[1];
  if (path === undefined) return fallback;
  const decoded = path.replace(ESCAPE, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
  return DOT_SEGMENT.test(path) || HOST.test(decoded) || CIRCLE.test(decoded) ? fallback : value;
}
