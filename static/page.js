// SPDX-License-Identifier: MIT
/**
 * What every page does in a browser with scripts. No page needs it: each works without.
 *
 * A behaviour for one element is named there: <time data-behaviour="local-time">.
 */

import { keepSession } from "./behaviours/keep-session.js";
import { localTime } from "./behaviours/local-time.js";
import { revealPassword } from "./behaviours/reveal-password.js";
import { sameVisitor } from "./behaviours/same-visitor.js";
import { signOutByScript } from "./behaviours/sign-out.js";

const behaviours = { "local-time": localTime, "reveal-password": revealPassword, "sign-out": signOutByScript };

for (const element of document.querySelectorAll("[data-behaviour]")) {
  behaviours[element.dataset.behaviour](element);
}
sameVisitor();
keepSession();
