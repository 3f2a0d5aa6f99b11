# What each test file starts from; Terraform reads it for the tests alone.

project         = "shop"
region          = "europe-west1"
segment_region  = "eu"
segment_user_id = "id"
alert_emails    = ["shop@example.com"]
commercetools = {
  project_key = "shop"
  client_id   = "client"
  region      = "europe-west1.gcp"
}
