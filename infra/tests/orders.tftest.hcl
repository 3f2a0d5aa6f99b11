# Orders are told only where the shop wants it, and then the API client may read them.
mock_provider "google" {
  source = "./tests/mocks"
}

run "orders_are_off_and_their_scopes_are_not_requested" {
  assert {
    condition = {
      for e in google_cloud_run_v2_service.service.template[0].containers[0].env : e.name => e.value
      if contains(["ORDERS", "ORDER_IMPORTS", "CTP_SCOPES"], e.name)
      } == {
      ORDERS        = "off"
      ORDER_IMPORTS = "none"
      CTP_SCOPES    = "view_customers:shop view_customer_groups:shop"
    }
    error_message = "an API client for customers alone would get no token"
  }
}

run "with_orders_on_the_service_may_read_them" {
  variables {
    orders        = "on"
    order_imports = "recent"
  }

  assert {
    condition = {
      for e in google_cloud_run_v2_service.service.template[0].containers[0].env : e.name => e.value
      if contains(["ORDERS", "ORDER_IMPORTS", "CTP_SCOPES"], e.name)
      } == {
      ORDERS        = "on"
      ORDER_IMPORTS = "recent"
      CTP_SCOPES    = "view_customers:shop view_customer_groups:shop view_orders:shop view_payments:shop view_discount_codes:shop"
    }
    error_message = "the service cannot read what it is to tell"
  }
}

run "orders_need_an_api_client" {
  command = plan

  variables {
    orders        = "on"
    commercetools = null
  }

  expect_failures = [google_cloud_run_v2_service.service]
}
