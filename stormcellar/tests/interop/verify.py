# SPDX-License-Identifier: MIT
"""What supertokens-python thinks of access tokens: run with its own Python, by test_other_backends.py.

Argument: the address of the core. Standard input: {"name": "token"}. Output: {"name": what it says}.
"""

import json
import sys
from typing import Any

from supertokens_python import InputAppInfo, SupertokensConfig, init
from supertokens_python.recipe import session
from supertokens_python.recipe.session.exceptions import SuperTokensSessionError
from supertokens_python.recipe.session.syncio import get_session_without_request_response


def opinion(token: str) -> dict[str, Any]:
    try:
        found = get_session_without_request_response(token)
    except SuperTokensSessionError as error:
        return {"error": type(error).__name__}
    assert found is not None
    return {
        "userId": found.get_user_id(),
        "recipeUserId": found.get_recipe_user_id().get_as_string(),
        "handle": found.get_handle(),
        "tenantId": found.get_tenant_id(),
        "payload": found.get_access_token_payload(),
    }


init(
    supertokens_config=SupertokensConfig(connection_uri=sys.argv[1]),
    app_info=InputAppInfo(
        app_name="Elsewhere", api_domain="http://localhost:1", website_domain="http://localhost:1"
    ),
    framework="fastapi",
    recipe_list=[session.init()],
    telemetry=False,
)
print(json.dumps({name: opinion(token) for name, token in json.load(sys.stdin).items()}))
