# The settings of one environment. Copy this file to infra/terraform.tfvars and edit the copy; it contains no secret.
# infra/variables.tf describes each setting and has more of them. Terraform allows each name once.

project         = "my-shop-segment"
region          = "europe-west1" # near commercetools' region: it is read for every message
segment_region  = "eu"           # eu or us
segment_user_id = "id"           # cannot be changed later: read its description first
alert_emails    = ["you@example.com"]

commercetools = {
  project_key = "my-shop"
  client_id   = "the-client-id-of-commercetools-segment"
  region      = "europe-west1.gcp" # as in https://api.europe-west1.gcp.commercetools.com
}

# The version that runs, of each secret. scripts/put-secret prints the number.
secret_versions = {
  SEGMENT_WRITE_KEY        = 1
  CTP_CLIENT_SECRET        = 1
  SEGMENT_PUBLIC_API_TOKEN = 1
}

orders              = "off"
erasure             = "off"
mapping_file        = ""
mapping_secret      = null
registry_region     = ""
deletion_protection = true
