# What the tests take for Google Cloud's answers.

mock_data "google_project" {
  defaults = { number = "123456789012" }
}

mock_resource "google_cloud_run_v2_service" {
  defaults = {
    urls = [
      "https://commercetools-segment-abcdefghij-ew.a.run.app",
      "https://commercetools-segment-123456789012.europe-west1.run.app",
    ]
  }
}

mock_resource "google_service_account" {
  defaults = {
    email  = "an-account@shop.iam.gserviceaccount.com"
    member = "serviceAccount:an-account@shop.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_service_account.push
  values = {
    email  = "push@shop.iam.gserviceaccount.com"
    member = "serviceAccount:push@shop.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_service_account.run
  values = {
    email  = "run@shop.iam.gserviceaccount.com"
    name   = "projects/shop/serviceAccounts/run@shop.iam.gserviceaccount.com"
    member = "serviceAccount:run@shop.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_service_account.test
  values = {
    email  = "test@shop.iam.gserviceaccount.com"
    name   = "projects/shop/serviceAccounts/test@shop.iam.gserviceaccount.com"
    member = "serviceAccount:test@shop.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_service_account.build
  values = {
    email  = "build@shop.iam.gserviceaccount.com"
    name   = "projects/shop/serviceAccounts/build@shop.iam.gserviceaccount.com"
    member = "serviceAccount:build@shop.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_service_account.deploy
  values = {
    email  = "deploy@shop.iam.gserviceaccount.com"
    name   = "projects/shop/serviceAccounts/deploy@shop.iam.gserviceaccount.com"
    member = "serviceAccount:deploy@shop.iam.gserviceaccount.com"
  }
}

override_resource {
  target = google_service_account.check
  values = {
    email  = "check@shop.iam.gserviceaccount.com"
    member = "serviceAccount:check@shop.iam.gserviceaccount.com"
  }
}

mock_resource "google_cloud_run_v2_job" {
  defaults = { id = "projects/shop/locations/europe-west1/jobs/commercetools-segment-check" }
}
