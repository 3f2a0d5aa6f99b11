"""Settings of a service of which nothing runs."""

SETTINGS = {"SEGMENT_WRITE_KEY": "k", "SEGMENT_USER_ID": "id", "SEGMENT_CLEAR_TRAITS": "all", "ORDERS": "on"}
API_CLIENT = {
    "CTP_PROJECT_KEY": "demo-shop",
    "CTP_CLIENT_ID": "c",
    "CTP_CLIENT_SECRET": "s",
    "CTP_AUTH_URL": "http://127.0.0.1:9",
    "CTP_API_URL": "http://127.0.0.1:9",
    "CTP_SCOPES": "view_customers:demo-shop",
}
