// SPDX-License-Identifier: MIT
/**
 * What every page does in a browser with scripts. No page needs it: each works without.
 *
 * A behaviour for one element is named there: <time data-behaviour="local-time">.
 */

import { keepFragment } from "./behaviours/keep-fragment.js";
import { keepSession } from "./behaviours/keep-session.js";
import { localTime } from "./behaviours/local-time.js";
import { revealPassword } from "./behaviours/reveal-password.js";
import { sameVisitor } from "./behaviours/same-visitor.js";
import { noticeSessionEnd } from "./behaviours/session-end.js";
import { sessionLine } from "./behaviours/session-line.js";
import { signOutByScript } from "./behaviours/sign-out.js";

const behaviours = {
  "keep-fragment": keepFragment,
  "local-time": localTime,
  "reveal-password": revealPassword,
  "session-line": sessionLine,
  "sign-out": signOutByScript,
};

/** @param {ParentNode} root */
function start(root) {
  for (const element of root.querySelectorAll("[data-behaviour]")) {
    behaviours[element.dataset.behaviour](element, start);
  }
}

start(document);
sameVisitor();
noticeSessionEnd();
keepSession();
